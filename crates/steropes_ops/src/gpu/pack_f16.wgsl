alias Pack = vec4<u32>;
alias Quad = vec4<f32>;
const QUADS: u32 = 2u;
alias Quads = array<vec4<f32>, 2>;
fn unpacked(p: Pack) -> Quads {
    return Quads(
        vec4<f32>(unpack2x16float(p.x), unpack2x16float(p.y)),
        vec4<f32>(unpack2x16float(p.z), unpack2x16float(p.w)),
    );
}
fn packed(q: Quads) -> Pack {
    return Pack(
        pack2x16float(q[0].xy), pack2x16float(q[0].zw), pack2x16float(q[1].xy), pack2x16float(q[1].zw),
    );
}
fn rounded(q: Quads, zero: u32) -> Quads { return unpacked(packed(q) | Pack(zero)); }
fn sum_of(v: Quad) -> f32 { return (v.x + v.y) + (v.z + v.w); }
fn largest_of(v: Quad) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
