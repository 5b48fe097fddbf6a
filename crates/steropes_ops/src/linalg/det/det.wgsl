// One invocation for each matrix: the sum of products written out.
//
// Header: THREADS, element; N (1 to 4).

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> determinants: array<f32>;

fn at(matrix: u32, i: u32, j: u32) -> f32 {
    return a[(matrix * N + i) * N + j];
}

// The determinant of columns p and q of rows i and i + 1.
fn minor(matrix: u32, i: u32, p: u32, q: u32) -> f32 {
    return at(matrix, i, p) * at(matrix, i + 1u, q) - at(matrix, i, q) * at(matrix, i + 1u, p);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = element(group, thread);
    if (matrix >= params.count) {
        return;
    }
    var value = at(matrix, 0u, 0u);
    if (N == 2u) {
        value = minor(matrix, 0u, 0u, 1u);
    } else if (N == 3u) {
        value = at(matrix, 0u, 0u) * minor(matrix, 1u, 1u, 2u) - at(matrix, 0u, 1u) * minor(matrix, 1u, 0u, 2u)
            + at(matrix, 0u, 2u) * minor(matrix, 1u, 0u, 1u);
    } else if (N == 4u) {
        value = minor(matrix, 0u, 0u, 1u) * minor(matrix, 2u, 2u, 3u)
            - minor(matrix, 0u, 0u, 2u) * minor(matrix, 2u, 1u, 3u)
            + minor(matrix, 0u, 0u, 3u) * minor(matrix, 2u, 1u, 2u)
            + minor(matrix, 0u, 1u, 2u) * minor(matrix, 2u, 0u, 3u)
            - minor(matrix, 0u, 1u, 3u) * minor(matrix, 2u, 0u, 2u)
            + minor(matrix, 0u, 2u, 3u) * minor(matrix, 2u, 0u, 1u);
    }
    determinants[matrix] = value;
}
