// A panel of at most PANEL columns of every matrix, one workgroup for each: it stays in device memory, and every row belongs to
// one invocation. A column takes a reduction of the largest value and the norm, then one of its products with the other columns of
// the panel, which also make the triangular factor: H_1 .. H_p = I - V T V^T.
//
// Header: THREADS, PANEL, FACTOR (else the reflectors are there, and only T is made), array a (rows of n values) and array tau (steps
// values for each matrix), which a panel without FACTOR only reads.

struct Params { m: u32, n: u32, first: u32, width: u32, steps: u32, panel: u32, panels: u32 }
var<immediate> params: Params;
@group(0) @binding(2) var<storage, read_write> blocks: array<f32>;

const CHUNK: u32 = 8u;
var<workgroup> meeting: array<f32, THREADS * (CHUNK + 1u)>;
var<workgroup> folded: array<f32, 32u * CHUNK>;
var<workgroup> dots: array<f32, PANEL>;
var<workgroup> triangle: array<f32, PANEL * PANEL>;
var<workgroup> diagonal: f32;

// The largest of x over the workgroup.
fn workgroup_max(x: f32, thread: u32) -> f32 {
    meeting[thread] = x;
    workgroupBarrier();
    if (thread < 32u) {
        var top = 0.0;
        for (var i = thread; i < THREADS; i += 32u) {
            top = max(top, meeting[i]);
        }
        folded[thread] = top;
    }
    workgroupBarrier();
    var top = 0.0;
    for (var i = 0u; i < 32u; i++) {
        top = max(top, folded[i]);
    }
    return top;
}

// The sum of x over the workgroup.
fn workgroup_sum(x: f32, thread: u32) -> f32 {
    meeting[thread] = x;
    workgroupBarrier();
    if (thread < 32u) {
        var sum = 0.0;
        for (var i = thread; i < THREADS; i += 32u) {
            sum += meeting[i];
        }
        folded[32u + thread] = sum;
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < 32u; i++) {
        sum += folded[32u + i];
    }
    return sum;
}

// Makes column j of the panel its reflector; returns tau.
fn reflector(base: u32, j: u32, thread: u32) -> f32 {
    let column = base + params.first + j;
    let row = params.first + j;
    if (thread == j) {
        diagonal = a[column + row * params.n];
    }
    var top = 0.0;
    for (var i = params.first + thread; i < params.m; i += THREADS) {
        if (i > row) {
            top = max(top, abs(a[column + i * params.n]));
        }
    }
    top = workgroup_max(top, thread);
    let head = diagonal;
    let largest = max(top, abs(head));
    let scale = select(largest, 1.0, largest == 0.0);
    var below = 0.0;
    for (var i = params.first + thread; i < params.m; i += THREADS) {
        if (i > row) {
            let x = a[column + i * params.n] / scale;
            below += x * x;
        }
    }
    below = workgroup_sum(below, thread);
    // What is zero below the diagonal stays as it is; a NaN is not zero.
    let empty = top == 0.0 && below == 0.0;
    let alpha = head / scale;
    let norm = sqrt(alpha * alpha + below);
    let beta = select(-norm, norm, alpha < 0.0);
    let shrink = 1.0 / (alpha - beta);
    for (var i = params.first + thread; i < params.m; i += THREADS) {
        if (i > row) {
            let x = a[column + i * params.n] / scale * shrink;
            store_a(column + i * params.n, select(x, 0.0, empty));
        }
    }
    if (thread == j) {
        store_a(column + row * params.n, select(beta * scale, head, empty));
    }
    return select((beta - alpha) / beta, 0.0, empty);
}

// The value of reflector j in row i, from its row on.
fn reflector_at(base: u32, j: u32, i: u32) -> f32 {
    if (i == params.first + j) {
        return 1.0;
    }
    return a[base + i * params.n + params.first + j];
}

// The products of reflector j with the other columns of the panel, in dots.
fn multiply(base: u32, j: u32, thread: u32) {
    var sums: array<f32, PANEL>;
    for (var i = params.first + thread; i < params.m; i += THREADS) {
        if (i >= params.first + j) {
            let v = reflector_at(base, j, i);
            for (var c = 0u; c < PANEL; c++) {
                if (c < params.width && c != j) {
                    sums[c] += v * a[base + i * params.n + params.first + c];
                }
            }
        }
    }
    for (var start = 0u; start < PANEL; start += CHUNK) {
        for (var c = 0u; c < CHUNK; c++) {
            meeting[thread * (CHUNK + 1u) + c] = sums[start + c];
        }
        workgroupBarrier();
        let c = thread % CHUNK;
        let segment = thread / CHUNK;
        if (segment < 32u) {
            var sum = 0.0;
            for (var i = segment; i < THREADS; i += 32u) {
                sum += meeting[i * (CHUNK + 1u) + c];
            }
            folded[segment * CHUNK + c] = sum;
        }
        workgroupBarrier();
        if (thread < CHUNK) {
            var sum = 0.0;
            for (var i = 0u; i < 32u; i++) {
                sum += folded[i * CHUNK + thread];
            }
            dots[start + thread] = sum;
        }
    }
    workgroupBarrier();
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.x;
    let base = matrix * params.m * params.n;
    for (var e = thread; e < PANEL * PANEL; e += THREADS) {
        triangle[e] = 0.0;
    }
    for (var j = 0u; j < params.width; j++) {
        var t = 0.0;
        let at = matrix * params.steps + params.first + j;
        if (FACTOR) {
            t = reflector(base, j, thread);
            if (thread == 0u) {
                store_tau(at, t);
            }
        } else {
            t = tau[at];
        }
        multiply(base, j, thread);
        if (FACTOR) {
            for (var i = params.first + thread; i < params.m; i += THREADS) {
                if (i >= params.first + j) {
                    let v = t * reflector_at(base, j, i);
                    for (var c = j + 1u; c < params.width; c++) {
                        let e = base + i * params.n + params.first + c;
                        store_a(e, a[e] - v * dots[c]);
                    }
                }
            }
        }
        if (thread < j) {
            var sum = 0.0;
            for (var l = thread; l < j; l++) {
                sum += triangle[thread * PANEL + l] * dots[l];
            }
            triangle[thread * PANEL + j] = -t * sum;
        }
        if (thread == j) {
            triangle[j * PANEL + j] = t;
        }
        workgroupBarrier();
    }
    let to = (matrix * params.panels + params.panel) * PANEL * PANEL;
    for (var e = thread; e < PANEL * PANEL; e += THREADS) {
        blocks[to + e] = triangle[e];
    }
}
