// One matrix for each workgroup, in its memory with the vectors. The number of sweeps is fixed; those after one without a
// rotation only meet at their barriers.
//
// Header: N, LOWER, SWEEPS, EPSILON; those of sweep; element.

struct Params { count: u32, a_shift: u32, values_shift: u32, vectors_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(1) var<storage, read_write> values: array<u32>;

const MAGNITUDE: u32 = 0x7fffffffu;

var<workgroup> gathered: array<u32, THREADS>;
var<workgroup> sums: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    let inside = index < params.count;
    // Workgroups behind the end compute along with the last matrix.
    let matrix = min(index, params.count - 1u);
    let first = params.a_shift + matrix * (N * N);
    var own = 0u;
    for (var t = thread; t < M * M; t += THREADS) {
        let i = t / M;
        let j = t % M;
        var bits = 0u;
        if (i < N && j < N) {
            bits = source[first + element(i, j)];
        }
        own = max(own, bits & MAGNITUDE);
        a[t] = bitcast<f32>(bits);
        if (VECTORS) {
            v[t] = select(0.0, 1.0, i == j);
        }
    }
    if (thread == 0u) {
        atomicStore(&last_turn, 0u);
    }
    gathered[thread] = own;
    workgroupBarrier();
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        if (thread < step) {
            gathered[thread] = max(gathered[thread], gathered[thread + step]);
        }
        workgroupBarrier();
    }
    let largest = gathered[0];
    let finite = largest < BITS_OF_INFINITE;
    var squares = 0.0;
    for (var t = thread; t < M * M; t += THREADS) {
        let x = select(0.0, a[t] * scale_of(largest), finite);
        a[t] = x;
        squares += x * x;
    }
    sums[thread] = squares;
    workgroupBarrier();
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        if (thread < step) {
            sums[thread] += sums[thread + step];
        }
        workgroupBarrier();
    }
    let tolerance = 0.25 * EPSILON * sqrt(sums[0] / f32(N));
    for (var s = 0u; s < SWEEPS; s++) {
        // True for all invocations or none: only a sweep after one that turned something turns anything.
        sweep(thread, atomicLoad(&last_turn) >= s, s + 1u, tolerance);
    }
    let valid = finite && atomicLoad(&last_turn) < SWEEPS;
    if (thread < N) {
        let value = a[thread * (M + 1u)];
        var rank = 0u;
        for (var i = 0u; i < N; i++) {
            let other = a[i * (M + 1u)];
            rank += u32(other < value || (other == value && i < thread));
        }
        gathered[thread] = rank;
        if (VECTORS) {
            sums[thread] = sign_of(thread);
        }
        if (inside) {
            let bits = bitcast<u32>(value * unscale_of(largest));
            values[params.values_shift + matrix * N + rank] = select(NOT_A_NUMBER, bits, valid);
        }
    }
    workgroupBarrier();
    write_vectors(matrix, thread, inside, valid);
}

// The sign that makes the first large entry of a vector positive.
fn sign_of(i: u32) -> f32 {
    var largest = 0.0;
    for (var k = 0u; k < N; k++) {
        largest = max(largest, abs(v[i * M + k]));
    }
    var sign = 0.0;
    for (var k = 0u; k < N; k++) {
        let x = v[i * M + k];
        if (sign == 0.0 && abs(x) >= 0.875 * largest) {
            sign = select(1.0, -1.0, x < 0.0);
        }
    }
    return sign;
}
