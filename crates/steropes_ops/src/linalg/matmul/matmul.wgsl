// A tile of 4 SIDE x 4 SIDE results of one part of the depth of one product for each workgroup, 4 x 4 of them in the registers of
// each invocation. Both operands come DEPTH steps of the depth at a time through workgroup memory, as vectors of four rows or
// four columns; a line there has one vector more than it needs, which spreads columns over banks. Sums run over the depth in order.
//
// Header: From, To; SIDE, DEPTH; A_TRANSPOSED, B_TRANSPOSED; sources (which matrices meet in one of the launch).

struct Params {
    // Products of this launch, and the number of the first.
    count: u32,
    first: u32,
    rows: u32,
    columns: u32,
    depth: u32,
    // Depth of a part, a multiple of DEPTH, and the number of parts.
    part: u32,
    parts: u32,
    // Elements of the bindings before the first one meant.
    a_shift: u32,
    b_shift: u32,
    y_shift: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<From>;
@group(0) @binding(1) var<storage, read> b: array<From>;
@group(0) @binding(2) var<storage, read_write> y: array<To>;

const PITCH: u32 = SIDE + 1u;
var<workgroup> a_tile: array<vec4<f32>, DEPTH * PITCH>;
var<workgroup> b_tile: array<vec4<f32>, DEPTH * PITCH>;

// The value of row m and step k of the left matrix that begins at `start`; zero outside.
fn a_at(start: u32, m: u32, k: u32, end: u32) -> f32 {
    if (m >= params.rows || k >= end) {
        return 0.0;
    }
    return f32(a[start + select(m * params.depth + k, k * params.rows + m, A_TRANSPOSED)]);
}

// The value of step k and column n of the right matrix that begins at `start`; zero outside.
fn b_at(start: u32, k: u32, n: u32, end: u32) -> f32 {
    if (n >= params.columns || k >= end) {
        return 0.0;
    }
    return f32(b[start + select(k * params.columns + n, n * params.depth + k, B_TRANSPOSED)]);
}

// Four results of row m from column n on.
fn finish(start: u32, m: u32, n: u32, sums: vec4<f32>) {
    if (m < params.rows) {
        let at = start + m * params.columns + n;
        if (n < params.columns) { y[at] = To(sums.x); }
        if (n + 1u < params.columns) { y[at + 1u] = To(sums.y); }
        if (n + 2u < params.columns) { y[at + 2u] = To(sums.z); }
        if (n + 3u < params.columns) { y[at + 3u] = To(sums.w); }
    }
}

@compute @workgroup_size(SIDE * SIDE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    let across = (params.columns + 4u * SIDE - 1u) / (4u * SIDE);
    let tiles = across * ((params.rows + 4u * SIDE - 1u) / (4u * SIDE));
    let result = index / tiles;
    let matrix = result / params.parts;
    if (matrix >= params.count) {
        return;
    }
    let tile_m = index % tiles / across * 4u * SIDE;
    let tile_n = index % tiles % across * 4u * SIDE;
    let source = sources(matrix);
    let a_start = params.a_shift + source.x * params.rows * params.depth;
    let b_start = params.b_shift + source.y * params.depth * params.columns;
    let first = result % params.parts * params.part;
    let end = min(first + params.part, params.depth);
    // Neighbouring invocations load neighbouring elements: along the depth or along the four rows or columns of a vector.
    let a_quad = select(thread / DEPTH, thread % SIDE, A_TRANSPOSED);
    let a_step = select(thread % DEPTH, thread / SIDE, A_TRANSPOSED);
    let b_quad = select(thread % SIDE, thread / DEPTH, B_TRANSPOSED);
    let b_step = select(thread / SIDE, thread % DEPTH, B_TRANSPOSED);
    // What an invocation loads next, where a tile has more vectors than the workgroup invocations.
    let a_quads = select(SIDE * SIDE / DEPTH, 0u, A_TRANSPOSED);
    let a_steps = select(0u, SIDE, A_TRANSPOSED);
    let b_quads = select(0u, SIDE * SIDE / DEPTH, B_TRANSPOSED);
    let b_steps = select(SIDE, 0u, B_TRANSPOSED);
    let row = thread / SIDE;
    let column = thread % SIDE;
    var sums_0 = vec4<f32>();
    var sums_1 = vec4<f32>();
    var sums_2 = vec4<f32>();
    var sums_3 = vec4<f32>();
    for (var k = first; k < end; k += DEPTH) {
        for (var i = 0u; i < DEPTH / SIDE; i++) {
            let step = a_step + i * a_steps;
            let quad = a_quad + i * a_quads;
            let m = tile_m + quad * 4u;
            a_tile[step * PITCH + quad] = vec4<f32>(
                a_at(a_start, m, k + step, end),
                a_at(a_start, m + 1u, k + step, end),
                a_at(a_start, m + 2u, k + step, end),
                a_at(a_start, m + 3u, k + step, end),
            );
        }
        for (var i = 0u; i < DEPTH / SIDE; i++) {
            let step = b_step + i * b_steps;
            let quad = b_quad + i * b_quads;
            let n = tile_n + quad * 4u;
            b_tile[step * PITCH + quad] = vec4<f32>(
                b_at(b_start, k + step, n, end),
                b_at(b_start, k + step, n + 1u, end),
                b_at(b_start, k + step, n + 2u, end),
                b_at(b_start, k + step, n + 3u, end),
            );
        }
        workgroupBarrier();
        for (var step = 0u; step < DEPTH; step++) {
            let left = a_tile[step * PITCH + row];
            let right = b_tile[step * PITCH + column];
            sums_0 = fma(vec4<f32>(left.x), right, sums_0);
            sums_1 = fma(vec4<f32>(left.y), right, sums_1);
            sums_2 = fma(vec4<f32>(left.z), right, sums_2);
            sums_3 = fma(vec4<f32>(left.w), right, sums_3);
        }
        workgroupBarrier();
    }
    let start = params.y_shift + result * params.rows * params.columns;
    let m = tile_m + row * 4u;
    let n = tile_n + column * 4u;
    finish(start, m, n, sums_0);
    finish(start, m + 1u, n, sums_1);
    finish(start, m + 2u, n, sums_2);
    finish(start, m + 3u, n, sums_3);
}
