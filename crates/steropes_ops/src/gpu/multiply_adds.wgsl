// Multiply-adds on registers alone. Each invocation runs 8 chains of vectors side by side, so that none waits for another. The
// chains settle at b / (1 - a), a normal number; they are stored so that the compiler keeps them.

struct Params { rounds: u32, a: f32, b: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let a = Vector(Elem(params.a));
    let b = Vector(Elem(params.b));
    var c0 = Vector(Elem(thread % 7u));
    var c1 = c0 + b;
    var c2 = c1 + b;
    var c3 = c2 + b;
    var c4 = c3 + b;
    var c5 = c4 + b;
    var c6 = c5 + b;
    var c7 = c6 + b;
    for (var i = 0u; i < params.rounds; i++) {
        for (var j = 0u; j < UNROLLED; j++) {
            c0 = fma(c0, a, b);
            c1 = fma(c1, a, b);
            c2 = fma(c2, a, b);
            c3 = fma(c3, a, b);
            c4 = fma(c4, a, b);
            c5 = fma(c5, a, b);
            c6 = fma(c6, a, b);
            c7 = fma(c7, a, b);
        }
    }
    let sum = ((c0 + c1) + (c2 + c3)) + ((c4 + c5) + (c6 + c7));
    y[(group.x * 256u + thread) % 65536u] = f32(sum.x) + f32(sum.y);
}
