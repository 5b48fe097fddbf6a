alias Pack = vec4<f32>;
alias Quad = vec4<f32>;
const QUADS: u32 = 1u;
alias Quads = array<vec4<f32>, 1>;
fn unpacked(p: Pack) -> Quads { return Quads(p); }
fn packed(q: Quads) -> Pack { return q[0]; }
fn sum_of(v: Quad) -> f32 { return (v.x + v.y) + (v.z + v.w); }
fn largest_of(v: Quad) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
