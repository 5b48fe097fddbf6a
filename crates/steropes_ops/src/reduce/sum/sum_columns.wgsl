// One result for each invocation; neighbours read neighbouring columns.
//
// Header: From, To; params, x, y; THREADS.

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let r = (group.x + group.y * 32768u) * THREADS + thread;
    if (r >= params.count) {
        return;
    }
    let column = r % params.inner;
    let line = r / params.inner;
    let first = line % params.parts * params.part;
    let last = min(first + params.part, params.n);
    let start = params.from_shift + line / params.parts * params.n * params.inner + column;
    var sum = 0.0;
    for (var i = first; i < last; i++) {
        sum += f32(x[start + i * params.inner]);
    }
    y[params.to_shift + r] = To(sum);
}
