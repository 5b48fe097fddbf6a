// The two blocks of a pair in a round of a tournament, and the row of the matrix that is row `i` of a pair.
fn blocks_of(round: u32, pair: u32) -> vec2<u32> {
    const LAST = 2u * PAIRS - 1u;
    let first = (round + pair) % LAST;
    let second = (round + LAST - pair) % LAST;
    return vec2<u32>(first, select(second, LAST, pair == 0u));
}

fn row_of(blocks: vec2<u32>, i: u32) -> u32 {
    return select(blocks.x, blocks.y, i >= 16u) * 16u + i % 16u;
}
