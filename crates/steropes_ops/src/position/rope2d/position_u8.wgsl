@group(0) @binding(1) var<storage, read> positions: array<u32>;
// Element i in 64 bits, the lower half first.
fn position(i: u32) -> vec2<u32> {
    return vec2<u32>((positions[i / 4u] >> (i % 4u * 8u)) & 0xffu, 0u);
}
