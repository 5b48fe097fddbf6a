// The norm of a matrix times that of its inverse, infinity where elimination found no inverse: LANES invocations for each matrix.
//
// Each takes every LANES-th column, row or element, whose sum runs in order; then halves of the invocations join until one is left.
// Comparisons let what is not a number win, which WGSL's max and min need not do.
//
// Header: N, LANES (a power of two, at most 256); BY (0: sums of columns, 1: of rows, 2: of all squares), SMALLEST.

struct Params { count: u32, infinity: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> matrices: array<f32>;
@group(0) @binding(1) var<storage, read> inverses: array<f32>;
@group(0) @binding(2) var<storage, read> info: array<i32>;
@group(0) @binding(3) var<storage, read_write> conditions: array<f32>;

var<workgroup> shares: array<f32, 256>;

fn value(inverse: bool, i: u32) -> f32 {
    if (inverse) { return inverses[i]; }
    return matrices[i];
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn extreme(x: f32, y: f32, smallest: bool) -> f32 {
    return select(x, y, is_nan(y) || (select(y > x, y < x, smallest) && !is_nan(x)));
}

// What all invocations of a matrix have together: the sum, or the extreme.
fn joined(thread: u32, own: f32, sums: bool, smallest: bool) -> f32 {
    shares[thread] = own;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (thread % LANES < half) {
            let other = shares[thread + half];
            shares[thread] = select(extreme(shares[thread], other, smallest), shares[thread] + other, sums);
        }
        workgroupBarrier();
    }
    let all = shares[thread / LANES * LANES];
    workgroupBarrier();
    return all;
}

fn largest_magnitude(inverse: bool, first: u32, lane: u32) -> f32 {
    var largest = 0.0;
    for (var i = lane; i < N * N; i += LANES) { largest = extreme(largest, abs(value(inverse, first + i)), false); }
    return largest;
}

fn squares(inverse: bool, first: u32, lane: u32, scale: f32) -> f32 {
    var sum = 0.0;
    for (var i = lane; i < N * N; i += LANES) {
        let x = value(inverse, first + i) / scale;
        sum = fma(x, x, sum);
    }
    return sum;
}

fn extreme_sum(inverse: bool, first: u32, lane: u32) -> f32 {
    var found = select(0.0, bitcast<f32>(params.infinity), SMALLEST);
    for (var line = lane; line < N; line += LANES) {
        var sum = 0.0;
        for (var i = 0u; i < N; i++) {
            sum += abs(value(inverse, first + select(i * N + line, line * N + i, BY == 1u)));
        }
        found = extreme(found, sum, SMALLEST);
    }
    return found;
}

fn norm(inverse: bool, first: u32, lane: u32, thread: u32, exists: bool) -> f32 {
    var own = 0.0;
    if (BY != 2u) {
        if (exists) { own = extreme_sum(inverse, first, lane); }
        if (!exists || lane >= N) { own = select(0.0, bitcast<f32>(params.infinity), SMALLEST); }
        return joined(thread, own, false, SMALLEST);
    }
    // Squares of what is divided by the largest magnitude do not overflow.
    if (exists) { own = largest_magnitude(inverse, first, lane); }
    let largest = joined(thread, own, false, false);
    let bits = bitcast<u32>(largest);
    let scale = select(largest, 1.0, bits == 0u || bits == params.infinity);
    if (exists) { own = squares(inverse, first, lane, scale); }
    return scale * sqrt(joined(thread, own, true, false));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = (group.x + group.y * 32768u) * (256u / LANES) + thread / LANES;
    let lane = thread % LANES;
    let exists = matrix < params.count;
    let first = matrix * N * N;
    let own = norm(false, first, lane, thread, exists);
    let other = norm(true, first, lane, thread, exists);
    if (exists && lane == 0u) {
        conditions[matrix] = select(own * other, bitcast<f32>(params.infinity), info[matrix] != 0);
    }
}
