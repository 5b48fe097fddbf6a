// Rows become the solutions x R = row of a triangular system. Header: N, STRIDE, THREADS, VECTORS (of four columns).

const SOLVES: bool = true;

// What is above the diagonal, with zeros elsewhere, and the inverses of what is on it.
var<workgroup> above: array<vec4<f32>, N * VECTORS>;
var<workgroup> inverse: array<vec4<f32>, VECTORS>;

fn load_triangle(thread: u32) {
    for (var e = thread; e < N * VECTORS; e += THREADS) {
        let i = e / VECTORS;
        let j = vec4<u32>(0u, 1u, 2u, 3u) + e % VECTORS * 4u;
        let at = min(j, vec4<u32>(N - 1u)) + i * N;
        let x = vec4<f32>(triangle[at.x], triangle[at.y], triangle[at.z], triangle[at.w]);
        above[e] = select(vec4<f32>(), x, (j > vec4<u32>(i)) & (j < vec4<u32>(N)));
    }
    for (var v = thread; v < VECTORS; v += THREADS) {
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
        for (var k = 0u; k < 4u * v; k += 4u) {
            let at = row + k;
            let known = vec4<f32>(rows[at], rows[at + 1u], rows[at + 2u], rows[at + 3u]);
            let line = k * VECTORS + v;
            let a = known.x * above[line] + known.y * above[line + VECTORS];
            let b = known.z * above[line + 2u * VECTORS] + known.w * above[line + 3u * VECTORS];
            x -= a + b;
        }
        let line = 4u * v * VECTORS + v;
        let last = (N - 1u) * VECTORS + v;
        x.x *= inverse[v].x;
        x -= x.x * above[line];
        x.y *= inverse[v].y;
        x -= x.y * above[min(line + VECTORS, last)];
        x.z *= inverse[v].z;
        x -= x.z * above[min(line + 2u * VECTORS, last)];
        x.w *= inverse[v].w;
        rows[own] = x.x;
        rows[own + 1u] = x.y;
        rows[own + 2u] = x.z;
        rows[own + 3u] = x.w;
    }
}

fn put_solved(i: u32, x: f32) {
    solved[i] = x;
}
