struct Params {
    queries: u32,
    keys: u32,
    heads: u32,
    // Heads of queries for each head of keys.
    group: u32,
    // Tiles in a head, and in all heads.
    tiles: u32,
    groups: u32,
    scale: f32,
    // Bits of minus infinity.
    nothing: u32,
    // Where the mask begins, and its elements from one batch element, head and query to the next.
    first_mask: u32,
    mask_batch: u32,
    mask_head: u32,
    mask_query: u32,
    // Where each array begins.
    first_q: u32,
    first_k: u32,
    first_v: u32,
    first_g: u32,
    first_y: u32,
    first_side: u32,
    first_result: u32,
    first_second: u32,
}
var<immediate> params: Params;

// A score with the mask, and whether the query may attend to the key.
struct Logit { value: f32, open: bool }

const LOG2_E: f32 = 1.4426950408889634;
// Below any score, and finite.
const NEVER: f32 = -3.4028234663852886e38;
