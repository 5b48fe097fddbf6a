// A panel of 64 columns and a part of the depth for each workgroup, all rows at once. ACROSS invocations side by side have a word of
// every line, SLICES of them below each other a block of LINES lines in turn: neighbours read neighbouring words, numbers become f32
// in registers, and the scales of a block are multiplied once for its sums. Sums of the slices meet in a tree in workgroup memory,
// whose order depends on nothing but SLICES.
//
// Header: params; row_of, step_of, row_values; weights; PANEL, ROWS, PARTS, QUADS, ACROSS, SLICES, LINES; Sums, Quads, block_times,
// put_rows; put.

var<workgroup> shared_sums: array<vec4<f32>, ACROSS * SLICES * QUADS>;

@compute @workgroup_size(ACROSS * SLICES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    let panels = (params.some + PANEL - 1u) / PANEL;
    let panel = index % panels;
    let part = index / panels;
    if (part >= PARTS) {
        return;
    }
    let column = thread % ACROSS * (4u * QUADS);
    var sums: Sums;
    for (var k = (part * SLICES + thread / ACROSS) * LINES; k < params.padded; k += PARTS * SLICES * LINES) {
        block_times(&sums, panel * params.padded + k, k, column);
    }
    put_rows(&sums, panel, part, thread);
}

// Adds the sums of row m of all slices.
fn put_row(m: u32, panel: u32, part: u32, thread: u32, own: Quads) {
    let slice = thread / ACROSS;
    var values = own;
    for (var q = 0u; q < QUADS; q++) {
        shared_sums[q * ACROSS * SLICES + thread] = values[q];
    }
    for (var half = SLICES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (slice < half) {
            for (var q = 0u; q < QUADS; q++) {
                let at = q * ACROSS * SLICES + thread;
                shared_sums[at] = shared_sums[at] + shared_sums[at + half * ACROSS];
            }
        }
    }
    workgroupBarrier();
    if (slice == 0u) {
        let n = panel * PANEL + thread % ACROSS * (4u * QUADS);
        for (var q = 0u; q < QUADS; q++) {
            put(m, n + q * 4u, part, shared_sums[q * ACROSS * SLICES + thread]);
        }
    }
    workgroupBarrier();
}
