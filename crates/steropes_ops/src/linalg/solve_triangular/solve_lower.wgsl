// Forward substitution for one right side by one invocation: four rows at a time, so that what is known already is read once
// for them. Right sides are solved in place.
//
// Header: SIZE (rows, a multiple of four), THREADS, UNIT (the diagonal is ones), a_at. `triangle(i, j)`, from what follows,
// gives an element of the triangle, and zero behind the last row.

struct Params {
    groups: u32, count: u32, across: u32, n: u32, k: u32,
    a_start: u32, a_row: u32, a_column: u32, a_step: u32,
    b_start: u32, b_row: u32, b_column: u32, b_step: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> b: array<f32>;

fn solve_column(start: u32, matrix: u32) {
    for (var i = 0u; i < params.n; i += 4u) {
        var rows: vec4<f32>;
        for (var r = 0u; r < 4u; r++) {
            if (i + r < params.n) {
                rows[r] = b[start + (i + r) * params.b_row];
            }
        }
        for (var j = 0u; j < i; j++) {
            let known = b[start + j * params.b_row];
            rows -= known * vec4(
                triangle(matrix, i, j), triangle(matrix, i + 1u, j), triangle(matrix, i + 2u, j), triangle(matrix, i + 3u, j),
            );
        }
        for (var r = 0u; r < 4u; r++) {
            if (i + r < params.n) {
                var value = rows[r];
                for (var q = 0u; q < r; q++) {
                    value -= triangle(matrix, i + r, i + q) * rows[q];
                }
                if (!UNIT) {
                    value /= triangle(matrix, i + r, i + r);
                }
                rows[r] = value;
                b[start + (i + r) * params.b_row] = value;
            }
        }
    }
}

