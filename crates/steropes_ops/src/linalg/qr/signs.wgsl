// The signs that make Q of a tall matrix that of the reduction of the whole, from its upper square part, and R times them: the
// pivots of the elimination that rebuilds the reflectors. One workgroup for each matrix.
//
// Header: N (columns), THREADS.

struct Params { blocks: u32, m: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> c: array<f32>;
@group(0) @binding(2) var<storage, read> kept: array<u32>;
@group(0) @binding(3) var<storage, read_write> r: array<f32>;
@group(0) @binding(4) var<storage, read_write> signs: array<f32>;

var<workgroup> top: array<f32, N * N>;
var<workgroup> found: array<f32, N>;
var<workgroup> least: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.x;
    for (var e = thread; e < N * N; e += THREADS) {
        var sum = 0.0;
        for (var l = 0u; l < N; l++) {
            sum += q[(matrix * params.m + e / N) * N + l] * c[matrix * params.blocks * N * N + l * N + e % N];
        }
        top[e] = sum;
    }
    var fewest = N;
    for (var block = thread; block < params.blocks; block += THREADS) {
        fewest = min(fewest, kept[matrix * params.blocks + block]);
    }
    least[thread] = fewest;
    workgroupBarrier();
    for (var i = 0u; i < THREADS; i++) {
        fewest = min(fewest, least[i]);
    }
    for (var j = 0u; j < N; j++) {
        let diagonal = top[j * N + j];
        let keeps = j < fewest;
        let sign = select(1.0, -1.0, diagonal > 0.0 && !keeps);
        // The column is that of Q times the sign, minus that of the identity: its pivot is at most -1.
        let pivot = diagonal * sign - 1.0;
        for (var e = thread; e < N * N; e += THREADS) {
            let i = e / N;
            if (i > j && e % N > j && !keeps) {
                top[e] -= top[i * N + j] * sign / pivot * top[j * N + e % N];
            }
        }
        if (thread == 0u) {
            found[j] = sign;
        }
        workgroupBarrier();
    }
    for (var e = thread; e < N * N; e += THREADS) {
        r[matrix * N * N + e] *= found[e / N];
    }
    for (var j = thread; j < N; j += THREADS) {
        signs[matrix * N + j] = found[j];
    }
}
