// One entry of the upper right quarter of a matrix for each invocation.
//
// Header: N (of the whole matrix), THREADS.

struct Params { count: u32, whole_shift: u32, to_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> whole: array<f32>;
@group(0) @binding(1) var<storage, read_write> to: array<f32>;

const OWN: u32 = N / 2u;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let t = (group.x + group.y * 32768u) * THREADS + thread;
    if (t >= params.count * (OWN * OWN)) {
        return;
    }
    let matrix = t / (OWN * OWN);
    let row = t / OWN % OWN;
    to[params.to_shift + t] = whole[params.whole_shift + matrix * (N * N) + row * N + OWN + t % OWN];
}
