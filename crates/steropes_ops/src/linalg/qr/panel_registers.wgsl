// A panel of at most COLUMNS columns of every matrix, one workgroup for each, in registers: an invocation has one column of 4 QUADS rows
// one below the other, and COLUMNS invocations side by side are a team that has these rows whole, so that neighbours read neighbouring
// values. For each column of the panel those that have it put it into workgroup memory, where all scale it; one pass over the rows makes the products of what
// is below its diagonal with all columns, whose own is the square of its norm, and one takes the reflection off the columns behind. The
// products also make the triangular factor: H_1 .. H_p = I - V T V^T.
//
// Header: registers.wgsl with THREADS, COLUMNS, QUADS, Rows, load_rows, store_rows, head_of; put_column, products, reflect, which are
// written out because registers are addressed by constants; PARTS (of a sum over the teams), put_part, largest_of_teams; PANEL.

struct Params { m: u32, n: u32, first: u32, width: u32, steps: u32, panel: u32, panels: u32 }
var<immediate> params: Params;
@group(0) @binding(1) var<storage, read_write> tau: array<f32>;
@group(0) @binding(2) var<storage, read_write> blocks: array<f32>;

var<workgroup> column: array<vec4<f32>, TEAMS * PITCH>;
var<workgroup> scaled_head: f32;
var<workgroup> tops: array<f32, TEAMS>;
var<workgroup> parts: array<f32, PARTS * COLUMNS>;
var<workgroup> heads: array<f32, COLUMNS>;
var<workgroup> dots: array<f32, COLUMNS>;
var<workgroup> triangle: array<f32, COLUMNS * COLUMNS>;

// What reflect takes off a column: `top` off row j and the scaled column j times `factor` off the rows below, from nothing where the
// column is j itself (`own`, else NONE).
struct Step { j: u32, own: u32, factor: f32, top: f32 }

fn sum_of_parts(c: u32) -> f32 {
    var sum = 0.0;
    for (var part = 0u; part < PARTS; part++) {
        sum += parts[part * COLUMNS + c];
    }
    return sum;
}

// Column j of row l of the triangular factor, of which only invocation l reads and writes.
fn extend_triangle(l: u32, j: u32, t: f32) {
    var sum = 0.0;
    for (var p = 0u; p < COLUMNS; p++) {
        sum += triangle[l * COLUMNS + p] * dots[p];
    }
    triangle[l * COLUMNS + j] = select(select(0.0, t, l == j), -t * sum, l < j);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.x;
    let base = matrix * params.m * params.n;
    let team = thread / COLUMNS;
    let c = thread % COLUMNS;
    let row = team * (4u * QUADS);
    let at = team * PITCH;
    var rows: Rows;
    load_rows(&rows, base, row, c);
    for (var e = thread; e < COLUMNS * COLUMNS; e += THREADS) {
        triangle[e] = 0.0;
    }
    for (var j = 0u; j < params.width; j++) {
        let own = c == j;
        if (own) {
            tops[team] = put_column(&rows, at, row, j);
        }
        if (team == 0u) {
            heads[c] = head_of(&rows, j);
        }
        workgroupBarrier();
        let top = largest_of_teams(thread);
        let head = heads[j];
        // A power of two scales without rounding, and leaves nothing above 4.
        let exponent = clamp((bitcast<u32>(max(top, abs(head))) >> 23u) & 0xffu, 1u, 253u);
        let scale = bitcast<f32>(exponent << 23u);
        let inverse = bitcast<f32>((254u - exponent) << 23u);
        // In memory, so that no compiler takes the scale out of a product again.
        for (var v = thread; v < TEAMS * QUADS; v += THREADS) {
            column[vector_at(v)] *= inverse;
        }
        if (thread == 0u) {
            scaled_head = head * inverse;
        }
        workgroupBarrier();
        put_part(products(&rows, at, own), c, thread);
        workgroupBarrier();
        let below = sum_of_parts(j);
        // What is zero below the diagonal stays as it is; a NaN is not zero.
        let empty = top == 0.0 && below == 0.0;
        let alpha = scaled_head;
        let norm = sqrt(alpha * alpha + below);
        let beta = select(-norm, norm, alpha < 0.0);
        let shrink = select(1.0 / (alpha - beta), 0.0, empty);
        let t = select((beta - alpha) / beta, 0.0, empty);
        let dot = heads[c] + shrink * sum_of_parts(c);
        if (team == 0u) {
            dots[c] = select(0.0, dot, c < j);
        }
        if (thread == 0u) {
            tau[matrix * params.steps + params.first + j] = t;
        }
        if (c >= j) {
            let diagonal = select(beta * scale, head, empty);
            let factor = select(t * dot * shrink, -shrink, own);
            reflect(&rows, at, row, Step(j, select(NONE, j, own), factor, select(t * dot, -diagonal, own)));
        }
        workgroupBarrier();
        if (thread < COLUMNS) {
            extend_triangle(thread, j, t);
        }
    }
    store_rows(&rows, base, row, c);
    workgroupBarrier();
    let to = (matrix * params.panels + params.panel) * PANEL * PANEL;
    for (var e = thread; e < PANEL * PANEL; e += THREADS) {
        let l = e / PANEL;
        let p = e % PANEL;
        let inside = l < COLUMNS && p < COLUMNS;
        blocks[to + e] = select(0.0, triangle[min(l, COLUMNS - 1u) * COLUMNS + min(p, COLUMNS - 1u)], inside);
    }
}
