// Four columns of a row for each invocation: the sums of all parts in their order.
//
// Header: params; PANEL, ROWS, PARTS; finish.

@group(0) @binding(0) var<storage, read> sums_of_parts: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * 64u + thread;
    let quads = (params.some + PANEL - 1u) / PANEL * (PANEL / 4u);
    if (i >= ROWS * quads) {
        return;
    }
    var sum = sums_of_parts[i];
    for (var part = 1u; part < PARTS; part++) {
        sum += sums_of_parts[part * ROWS * quads + i];
    }
    finish(i / quads, i % quads * 4u, sum);
}
