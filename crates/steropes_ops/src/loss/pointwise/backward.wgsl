// The gradients of each pair: GROUP_EACH pairs for each invocation, GROUP_THREADS apart.
//
// Header: Elem; GROUP_THREADS, GROUP_EACH; pair_slopes; EACH (a gradient for every pair, else one for all).

struct Params { count: u32, factor: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<Elem>;
@group(0) @binding(1) var<storage, read> b: array<Elem>;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> da: array<Elem>;
@group(0) @binding(4) var<storage, read_write> db: array<Elem>;

@compute @workgroup_size(GROUP_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = (group.x + group.y * 32768u) * (GROUP_THREADS * GROUP_EACH) + thread;
    for (var i = 0u; i < GROUP_EACH; i++) {
        let at = first + i * GROUP_THREADS;
        if (at < params.count) {
            let slopes = pair_slopes(f32(a[at]), f32(b[at])) * (grad[select(0u, at, EACH)] * params.factor);
            da[at] = Elem(slopes.x);
            db[at] = Elem(slopes.y);
        }
    }
}
