import { describe, expect, it } from "vitest";
import { around, asked, byReason, isLeaf, withHoldOut, with_, type Mixture } from "./mixture";

describe("mixtures", () => {
  it("say what differs from the defaults, and nothing else", () => {
    const whole = { collection: "synthetic", tasks: ["*"], rate_maximum: 3_000, temperature: 1, hold_out: { clusters: ["entailment"], adjacent: "exclude", tasks: [] }, parts: [] };
    expect(asked(whole)).toEqual({ collection: "synthetic", hold_out: { clusters: ["entailment"] } });
    expect(with_({ temperature: 2 }, { temperature: 1 })).toEqual({});
    expect(withHoldOut({ hold_out: { clusters: ["a"] } }, { clusters: [] })).toEqual({});
    expect(asked({ parts: [{ preset: "t0", tasks: ["*"] }] })).toEqual({ parts: [{ preset: "t0" }] });
  });

  it("are leaves where their tasks are chosen", () => {
    const each: Mixture[] = [{}, { preset: "t0" }, { parts: [{}] }, { parts: [] }];
    expect(each.map(isLeaf)).toEqual([true, false, false, true]);
  });

  it("group what falls by its reason", () => {
    expect(byReason({ a: "x", b: "y", c: "y" })).toEqual([["y", ["b", "c"]], ["x", ["a"]]]);
  });

  it("find a passage whatever stands between its words", () => {
    expect(around("It said: The  cat,\nsat down.", "the cat sat")).toEqual(["It said: ", "The  cat,\nsat", " down."]);
    expect(around("nothing", "the cat")).toBeNull();
    expect(around("a (b) c", "(b)")).toEqual(["a ", "(b)", " c"]);
    expect(around("x", " ")).toBeNull();
  });
});
