// One matrix, or one block of the rows of one, for each workgroup, in workgroup memory. Columns to the right of a reflector are
// shared among LANES invocations side by side, rows among PARTS such teams, which meet for each sum; the norm of a column is
// taken by 32 invocations.
//
// Header: ROWS, COLUMNS (of the block), WIDTH (values of a row in workgroup memory, also for Q), STEPS (reflectors), Q_COLUMNS,
// THREADS, LANES, PARTS.

// Without Q nothing is divided by its columns.
const Q_WIDTH: u32 = max(Q_COLUMNS, 1u);

struct Params { groups: u32, blocks: u32, m: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> source: array<f32>;

var<workgroup> a: array<f32, ROWS * WIDTH>;
var<workgroup> v: array<f32, ROWS>;
var<workgroup> tau: array<f32, STEPS>;
var<workgroup> sums: array<f32, THREADS>;
var<workgroup> norms: array<f32, 64>;

// The first row of the block of workgroup g among all rows of all matrices, and the number of its rows.
fn rows_of(g: u32) -> vec2<u32> {
    let first = g % params.blocks * ROWS;
    return vec2<u32>(g / params.blocks * params.m + first, min(ROWS, params.m - first));
}

// Rows behind the end are zeros, which change nothing.
fn load_block(rows: vec2<u32>, thread: u32) {
    for (var e = thread; e < ROWS * COLUMNS; e += THREADS) {
        let i = e / COLUMNS;
        if (i < rows.y) {
            a[i * WIDTH + e % COLUMNS] = source[rows.x * COLUMNS + e];
        } else {
            a[i * WIDTH + e % COLUMNS] = 0.0;
        }
    }
    workgroupBarrier();
}

// Multiplies the columns from first to last by I - t v v^T, whose v begins in row j.
fn reflect(j: u32, first: u32, last: u32, t: f32, thread: u32) {
    let part = thread / LANES;
    let lane = thread % LANES;
    for (var start = first; start < last; start += LANES) {
        let c = start + lane;
        let inside = c < last && part < PARTS;
        var sum = 0.0;
        if (inside) {
            for (var i = j + part; i < ROWS; i += PARTS) {
                sum += v[i] * a[i * WIDTH + c];
            }
        }
        sums[thread] = sum;
        workgroupBarrier();
        if (inside) {
            var product = 0.0;
            for (var p = 0u; p < PARTS; p++) {
                product += sums[p * LANES + lane];
            }
            product *= t;
            for (var i = j + part; i < ROWS; i += PARTS) {
                a[i * WIDTH + c] -= v[i] * product;
            }
        }
        workgroupBarrier();
    }
}

// Makes column j its reflector in v, stores that below the diagonal and the new diagonal on it.
fn reflector(j: u32, thread: u32) {
    let head = a[j * WIDTH + j];
    var top = 0.0;
    if (thread < 32u) {
        for (var i = j + 1u + thread; i < ROWS; i += 32u) {
            top = max(top, abs(a[i * WIDTH + j]));
        }
        norms[thread] = top;
    }
    workgroupBarrier();
    top = 0.0;
    for (var i = 0u; i < 32u; i++) {
        top = max(top, norms[i]);
    }
    let largest = max(top, abs(head));
    let scale = select(largest, 1.0, largest == 0.0);
    if (thread < 32u) {
        var sum = 0.0;
        for (var i = j + 1u + thread; i < ROWS; i += 32u) {
            let x = a[i * WIDTH + j] / scale;
            sum += x * x;
        }
        norms[32u + thread] = sum;
    }
    workgroupBarrier();
    var below = 0.0;
    for (var i = 0u; i < 32u; i++) {
        below += norms[32u + i];
    }
    // What is zero below the diagonal stays as it is; a NaN is not zero.
    let empty = top == 0.0 && below == 0.0;
    let alpha = head / scale;
    let norm = sqrt(alpha * alpha + below);
    let beta = select(-norm, norm, alpha < 0.0);
    let shrink = 1.0 / (alpha - beta);
    for (var i = j + 1u + thread; i < ROWS; i += THREADS) {
        let x = select(a[i * WIDTH + j] / scale * shrink, 0.0, empty);
        v[i] = x;
        a[i * WIDTH + j] = x;
    }
    if (thread == 0u) {
        v[j] = 1.0;
        tau[j] = select((beta - alpha) / beta, 0.0, empty);
        a[j * WIDTH + j] = select(beta * scale, head, empty);
    }
    workgroupBarrier();
}

// Reduces the block to R, with the reflectors below its diagonal.
fn factor(thread: u32) {
    for (var j = 0u; j < STEPS; j++) {
        reflector(j, thread);
        reflect(j, j + 1u, COLUMNS, tau[j], thread);
    }
}

// Makes the reflectors the first columns of their product, in their place.
fn form(thread: u32) {
    for (var e = thread; e < ROWS * (Q_COLUMNS - min(STEPS, Q_COLUMNS)); e += THREADS) {
        let i = e % ROWS;
        let c = STEPS + e / ROWS;
        a[i * WIDTH + c] = select(0.0, 1.0, i == c);
    }
    for (var step = 0u; step < STEPS; step++) {
        let j = STEPS - 1u - step;
        for (var i = j + thread; i < ROWS; i += THREADS) {
            v[i] = select(a[i * WIDTH + j], 1.0, i == j);
        }
        workgroupBarrier();
        let t = tau[j];
        reflect(j, j + 1u, Q_COLUMNS, t, thread);
        for (var i = thread; i < ROWS; i += THREADS) {
            var x = 0.0;
            if (i >= j) {
                x = select(0.0, 1.0, i == j) - t * v[i];
            }
            a[i * WIDTH + j] = x;
        }
        workgroupBarrier();
    }
}
