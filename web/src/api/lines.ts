/** A rank's log, read piece by piece: every line once, however it comes. */

export class Lines {
  readonly lines: string[] = [];
  /** Where to read on, in bytes. */
  offset = 0;
  private rest = "";

  push(text: string, nextOffset: number): void {
    const parts = (this.rest + text).split("\n");
    this.rest = parts.pop() ?? "";
    for (const part of parts) this.lines.push(part);
    this.offset = nextOffset;
  }

  /** All lines, also one that has no end yet. */
  get all(): readonly string[] {
    return this.rest === "" ? this.lines : [...this.lines, this.rest];
  }
}
