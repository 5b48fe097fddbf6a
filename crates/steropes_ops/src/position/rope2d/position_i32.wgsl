@group(0) @binding(1) var<storage, read> positions: array<i32>;
// Element i in 64 bits, the lower half first.
fn position(i: u32) -> vec2<u32> {
    let p = positions[i];
    return vec2<u32>(bitcast<u32>(p), bitcast<u32>(p >> 31u));
}
