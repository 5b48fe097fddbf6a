alias Pack = Elem;
alias Quad = f32;
const QUADS: u32 = 1u;
alias Quads = array<f32, 1>;
fn unpacked(p: Pack) -> Quads { return Quads(f32(p)); }
fn packed(q: Quads) -> Pack { return Pack(q[0]); }
fn sum_of(v: Quad) -> f32 { return v; }
fn largest_of(v: Quad) -> f32 { return v; }
