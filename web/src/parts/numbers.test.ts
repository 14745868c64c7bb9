import { expect, test } from "vitest";
import { bytes, count, duration, figure, percent, short } from "./numbers";

test.each([
  [figure(0.0012345), "0.001234"], [figure(2.88), "2.88"], [figure(1234567), "1,234,567"], [figure(3e-9), "3e-9"], [figure(0), "0"],
  [figure(null), "–"], [figure(Number.NaN), "–"],
  [count(12345), "12,345"], [short(8_192_000), "8.19 M"], [short(12), "12"],
  [bytes(1024), "1 KiB"], [bytes(0), "0 B"], [bytes(1.5 * 1024 ** 3), "1.5 GiB"],
  [percent(0.123), "12.3 %"], [percent(0.0001), "< 0.1 %"], [percent(0.9999), "> 99.9 %"], [percent(1), "100.0 %"], [percent(0), "0.0 %"], [percent(null), "–"],
  [duration(0), "0 s"], [duration(45), "45 s"], [duration(200), "3 min 20 s"], [duration(3_600), "1 h"], [duration(7_500), "2 h 5 min"], [duration(-3), "0 s"],
])("%s is written as %s", (written, expected) => expect(written).toBe(expected));
