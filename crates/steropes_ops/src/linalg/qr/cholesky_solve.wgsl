// Rows become the solutions x R = row of a triangular system. Header: N, ROWS, STRIDE, VECTORS (of four columns).

const SOLVES: bool = true;

// What is above the diagonal, with zeros elsewhere, and the inverses of what is on it.
var<workgroup> above: array<vec4<f32>, N * VECTORS>;
var<workgroup> inverse: array<vec4<f32>, VECTORS>;

fn load_triangle(thread: u32) {
    for (var e = thread; e < N * VECTORS; e += ROWS) {
        let i = e / VECTORS;
        let j = vec4<u32>(0u, 1u, 2u, 3u) + e % VECTORS * 4u;
        let at = min(j, vec4<u32>(N - 1u)) + i * N;
        let x = vec4<f32>(triangle[at.x], triangle[at.y], triangle[at.z], triangle[at.w]);
        above[e] = select(vec4<f32>(), x, (j > vec4<u32>(i)) & (j < vec4<u32>(N)));
    }
    for (var v = thread; v < VECTORS; v += ROWS) {
        let j = vec4<u32>(0u, 1u, 2u, 3u) + v * 4u;
        let at = min(j, vec4<u32>(N - 1u)) * (N + 1u);
        let x = vec4<f32>(triangle[at.x], triangle[at.y], triangle[at.z], triangle[at.w]);
        inverse[v] = select(vec4<f32>(), 1.0 / x, j < vec4<u32>(N));
    }
    workgroupBarrier();
}

// The row of this invocation, four unknowns at a time.
fn solve(thread: u32) {
    let row = thread * STRIDE;
    for (var v = 0u; v < VECTORS; v++) {
        let own = row + 4u * v;
        var x = vec4<f32>(rows[own], rows[own + 1u], rows[own + 2u], rows[own + 3u]);
        for (var k = 0u; k < 4u * v; k++) {
            x -= rows[row + k] * above[k * VECTORS + v];
        }
        for (var i = 0u; i < 4u; i++) {
            let known = x[i] * inverse[v][i];
            rows[own + i] = known;
            x -= known * above[min(4u * v + i, N - 1u) * VECTORS + v];
        }
    }
}

fn put_solved(i: u32, x: f32) {
    solved[i] = x;
}
