// The Cholesky factor, upper triangular, of the products of a tall matrix' columns with each other; in one workgroup. The first time it is
// bad if little is left of a column beside those before it, so that rounding of the products would show, or if the first column is
// zero below its first value, whose sign is then its own. The second time the products must be nearly those of orthonormal columns;
// then it is also multiplied with the factor before it, and inverted.
//
// Header: N, THREADS, SECOND, before_at, put_product, put_inverse.

@group(0) @binding(0) var<storage, read> sums: array<f32>;
@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read_write> bad: array<u32>;
@group(0) @binding(3) var<storage, read_write> r: array<f32>;

// What must be left of the square of a column's length: columns that depend on each other twelve bits closer lose what f32 has.
const LEAST_LEFT: f32 = 2e-4;
// How far products may be from those of orthonormal columns.
const MOST_APART: f32 = 0.05;
// What must be below the first value of the first column, of the square of its length.
const LEAST_BELOW: f32 = 1e-5;

var<workgroup> g: array<f32, N * (N + 1u)>;
var<workgroup> problems: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
    var problem = false;
    for (var e = thread; e < N * N; e += THREADS) {
        let i = e / N;
        let j = e % N;
        g[i * (N + 1u) + j] = sums[e];
        if (SECOND) {
            // A NaN is not below it.
            problem = problem || !(abs(sums[e] - select(0.0, 1.0, i == j)) < MOST_APART);
        }
    }
    workgroupBarrier();
    let head = source[0];
    if (!SECOND) {
        problem = !(g[0] - head * head > LEAST_BELOW * g[0]);
    }
    for (var k = 0u; k < N; k++) {
        let pivot = g[k * (N + 1u) + k];
        problem = problem || !(pivot > LEAST_LEFT * sums[k * N + k]);
        let length = sqrt(pivot);
        workgroupBarrier();
        for (var j = k + thread; j < N; j += THREADS) {
            g[k * (N + 1u) + j] /= length;
        }
        workgroupBarrier();
        for (var e = thread; e < N * N; e += THREADS) {
            let i = e / N;
            let j = e % N;
            if (i > k && j >= i) {
                g[i * (N + 1u) + j] -= g[k * (N + 1u) + i] * g[k * (N + 1u) + j];
            }
        }
        workgroupBarrier();
    }
    for (var e = thread; e < N * N; e += THREADS) {
        let i = e / N;
        let j = e % N;
        r[e] = select(0.0, g[i * (N + 1u) + j], i <= j);
        var product = 0.0;
        for (var l = i; l <= j; l++) {
            product += g[i * (N + 1u) + l] * before_at(l * N + j);
        }
        put_product(e, select(0.0, product, i <= j));
    }
    // A column of the inverse for each invocation, from its diagonal upwards.
    for (var j = thread; j < N; j += THREADS) {
        invert(j);
    }
    problems[thread] = u32(problem);
    workgroupBarrier();
    if (thread == 0u) {
        var any = 0u;
        for (var i = 0u; i < THREADS; i++) {
            any |= problems[i];
        }
        bad[u32(SECOND)] = any;
    }
}

fn invert(j: u32) {
    var column: array<f32, N>;
    for (var step = 0u; step < N; step++) {
        let i = N - 1u - step;
        var x = select(0.0, 1.0, i == j);
        for (var l = i + 1u; l <= j; l++) {
            x -= g[i * (N + 1u) + l] * column[l];
        }
        column[i] = select(0.0, x / g[i * (N + 1u) + i], i <= j);
        put_inverse(i * N + j, column[i]);
    }
}
