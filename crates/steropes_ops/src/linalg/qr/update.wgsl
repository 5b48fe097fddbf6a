// C -= V T^T V^T C while a matrix is reduced, C -= V T V^T C while Q is made, from V^T C in splits: a workgroup takes 64 rows and
// 64 columns of C, an invocation a quarter of the rows for one column. It first adds the splits and multiplies by T.
//
// Header: PANEL, TRANSPOSED (by T^T), array c, v_source.

struct Params { m: u32, n: u32, columns: u32, first: u32, width: u32, start: u32, splits: u32, panel: u32, panels: u32 }
var<immediate> params: Params;
@group(0) @binding(1) var<storage, read> projected: array<f32>;
@group(0) @binding(2) var<storage, read> blocks: array<f32>;

const EACH: u32 = PANEL / 4u;
var<workgroup> triangle: array<f32, PANEL * PANEL>;
var<workgroup> sums: array<f32, PANEL * 64u>;
var<workgroup> v: array<f32, 64u * PANEL>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.z;
    let lane = thread % 64u;
    let quarter = thread / 64u;
    let column = params.start + group.x * 64u + lane;
    let inside = column < params.columns;
    let row = params.first + group.y * 64u;
    for (var e = thread; e < PANEL * PANEL; e += 256u) {
        triangle[e] = blocks[(matrix * params.panels + params.panel) * PANEL * PANEL + e];
    }
    for (var e = thread; e < 64u * PANEL; e += 256u) {
        v[e] = reflector_at(matrix, row + e / PANEL, e % PANEL);
    }
    for (var l = quarter * EACH; l < (quarter + 1u) * EACH; l++) {
        var sum = 0.0;
        if (inside) {
            for (var split = 0u; split < params.splits; split++) {
                sum += projected[((matrix * params.splits + split) * PANEL + l) * params.columns + column];
            }
        }
        sums[l * 64u + lane] = sum;
    }
    workgroupBarrier();
    var factors: array<f32, PANEL>;
    for (var l = 0u; l < PANEL; l++) {
        var sum = 0.0;
        for (var p = 0u; p < PANEL; p++) {
            // Above the diagonal only: the rest of T is zero.
            sum += select(triangle[l * PANEL + p], triangle[p * PANEL + l], TRANSPOSED) * sums[p * 64u + lane];
        }
        factors[l] = sum;
    }
    if (inside) {
        // All on their way at once, before any is stored.
        let first = matrix * params.m + row + quarter * 16u;
        let last = matrix * params.m + params.m - 1u;
        var x: array<f32, 16>;
        for (var i = 0u; i < 16u; i++) {
            x[i] = c[min(first + i, last) * params.columns + column];
        }
        for (var i = 0u; i < 16u; i++) {
            var sum = 0.0;
            for (var l = 0u; l < PANEL; l++) {
                sum += v[(quarter * 16u + i) * PANEL + l] * factors[l];
            }
            if (first + i <= last) {
                c[(first + i) * params.columns + column] = x[i] - sum;
            }
        }
    }
}
