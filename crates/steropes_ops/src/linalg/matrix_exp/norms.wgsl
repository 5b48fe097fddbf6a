// One column of a matrix for each invocation: the sum of its magnitudes, of which the largest stays. The bits of magnitudes are
// ordered as they are.
//
// Header: N, THREADS.

struct Params { count: u32, a_shift: u32, norms_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read_write> norms: array<atomic<u32>>;

const MAGNITUDE: u32 = 0x7fffffffu;
const BITS_OF_INFINITE: u32 = 0x7f800000u;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let t = (group.x + group.y * 32768u) * THREADS + thread;
    if (t >= params.count * N) {
        return;
    }
    let matrix = t / N;
    let first = params.a_shift + matrix * (N * N) + t % N;
    var sum = 0.0;
    var largest = 0u;
    for (var i = 0u; i < N; i++) {
        let bits = a[first + i * N] & MAGNITUDE;
        largest = max(largest, bits);
        sum += bitcast<f32>(bits);
    }
    atomicMax(&norms[params.norms_shift + matrix], select(bitcast<u32>(sum), BITS_OF_INFINITE, largest >= BITS_OF_INFINITE));
}
