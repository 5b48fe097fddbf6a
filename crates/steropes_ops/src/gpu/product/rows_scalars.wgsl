@group(0) @binding(0) var<storage, read> x: array<Elem>;
fn x4(at: u32, count: u32) -> Elem4 {
    var v = Elem4();
    v.x = x[at];
    if (count > 1u) { v.y = x[at + 1u]; }
    if (count > 2u) { v.z = x[at + 2u]; }
    if (count > 3u) { v.w = x[at + 3u]; }
    return v;
}
