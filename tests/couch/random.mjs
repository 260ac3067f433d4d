// In charge of choices that a seed repeats: GODWIT_COUCH_SEED runs a failure again.

/// xorshift32 with the shifts 13, 17 and 5 of Marsaglia, "Xorshift RNGs" (2003).
export class Random {
  static seeded(t) {
    const seed = Number(process.env.GODWIT_COUCH_SEED ?? (Date.now() & 0x7fffffff)) | 1;
    t.diagnostic(`GODWIT_COUCH_SEED=${seed}`);
    return new Random(seed);
  }

  constructor(seed) {
    this.state = seed;
  }

  below(end) {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return (this.state >>> 0) % end;
  }

  /// True as often as that, of one.
  chance(of) {
    return this.below(1000) < of * 1000;
  }

  one(items) {
    return items[this.below(items.length)];
  }

  shuffled(items) {
    const out = [...items];
    for (let last = out.length - 1; last > 0; last--) {
      const other = this.below(last + 1);
      [out[last], out[other]] = [out[other], out[last]];
    }
    return out;
  }
}
