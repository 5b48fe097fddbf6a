// One small matrix for each invocation, in its registers: reduced column by column, then Q from the last reflector to the first.
//
// Header: M, N (rows and columns), STEPS (reflectors), R_ROWS, Q_COLUMNS, THREADS; array r, store_q.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> source: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = (group.x + group.y * 32768u) * THREADS + thread;
    if (matrix >= params.count) {
        return;
    }
    var a: array<f32, M * N>;
    var tau: array<f32, STEPS>;
    for (var e = 0u; e < M * N; e++) {
        a[e] = source[matrix * (M * N) + e];
    }
    for (var j = 0u; j < STEPS; j++) {
        var top = 0.0;
        for (var i = j + 1u; i < M; i++) {
            top = max(top, abs(a[i * N + j]));
        }
        let head = a[j * N + j];
        let largest = max(top, abs(head));
        let scale = select(largest, 1.0, largest == 0.0);
        var below = 0.0;
        for (var i = j + 1u; i < M; i++) {
            let x = a[i * N + j] / scale;
            below += x * x;
        }
        // What is zero below the diagonal stays as it is; a NaN is not zero.
        if (top == 0.0 && below == 0.0) {
            tau[j] = 0.0;
            continue;
        }
        let alpha = head / scale;
        let norm = sqrt(alpha * alpha + below);
        let beta = select(-norm, norm, alpha < 0.0);
        let t = (beta - alpha) / beta;
        let shrink = 1.0 / (alpha - beta);
        tau[j] = t;
        a[j * N + j] = beta * scale;
        for (var i = j + 1u; i < M; i++) {
            a[i * N + j] = a[i * N + j] / scale * shrink;
        }
        for (var c = j + 1u; c < N; c++) {
            var sum = a[j * N + c];
            for (var i = j + 1u; i < M; i++) {
                sum += a[i * N + j] * a[i * N + c];
            }
            sum *= t;
            a[j * N + c] -= sum;
            for (var i = j + 1u; i < M; i++) {
                a[i * N + c] -= a[i * N + j] * sum;
            }
        }
    }
    for (var i = 0u; i < R_ROWS; i++) {
        for (var c = 0u; c < N; c++) {
            r[(matrix * R_ROWS + i) * N + c] = select(0.0, a[i * N + c], i <= c);
        }
    }
    for (var c = 0u; c < Q_COLUMNS; c++) {
        var q: array<f32, M>;
        for (var i = 0u; i < M; i++) {
            q[i] = select(0.0, 1.0, i == c);
        }
        for (var step = 0u; step < STEPS; step++) {
            let j = STEPS - 1u - step;
            var sum = q[j];
            for (var i = j + 1u; i < M; i++) {
                sum += a[i * N + j] * q[i];
            }
            sum *= tau[j];
            q[j] -= sum;
            for (var i = j + 1u; i < M; i++) {
                q[i] -= a[i * N + j] * sum;
            }
        }
        for (var i = 0u; i < M; i++) {
            store_q((matrix * M + i) * Q_COLUMNS + c, q[i]);
        }
    }
}
