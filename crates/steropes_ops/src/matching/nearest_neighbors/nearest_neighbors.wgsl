// A workgroup scores THREADS * QUERIES queries against one range of rows. Every invocation keeps QUERIES queries in registers;
// the rows pass through workgroup memory, TILE at a time, and are read from there by all invocations at once, so that one
// read serves QUERIES scores; STEP rows are scored side by side. A score is one chain of fused multiply-adds in the order of the columns. The best of the
// range goes to its slot of `best`; `merge_ranges` picks among the slots.
//
// Header: DEPTH, VECTORS (groups of four columns in a row, the last filled up with zeros), THREADS, QUERIES, TILE, STEP (divides TILE), LOWEST,
// Value (four columns, or one where DEPTH is no multiple of four), the text of `scan.wgsl`, `query_part`, `row_part`, `add`,
// `query_count`, and the binding of the count where it lies on the device.

var<workgroup> tile: array<vec4<f32>, TILE * VECTORS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let id = group.x + group.y * 32768u;
    let slot = id / params.groups;
    let first = id % params.groups * (THREADS * QUERIES);
    let start = slot * params.range;
    let count = query_count();
    if (start >= params.rows || first >= count) {
        return;
    }
    let end = min(start + params.range, params.rows);

    var query: array<array<vec4<f32>, VECTORS>, QUERIES>;
    var score: array<f32, QUERIES>;
    var index: array<u32, QUERIES>;
    for (var i = 0u; i < QUERIES; i++) {
        for (var v = 0u; v < VECTORS; v++) {
            query[i][v] = query_part(min(first + i * THREADS + thread, count - 1u), v);
        }
        score[i] = LOWEST;
        index[i] = 0u;
    }
    for (var base = start; base < end; base += TILE) {
        workgroupBarrier();
        for (var i = thread; i < TILE * VECTORS; i += THREADS) {
            tile[i] = row_part(min(base + i / VECTORS, params.rows - 1u), i % VECTORS);
        }
        workgroupBarrier();
        let here = min(TILE, end - base);
        for (var j = 0u; j < here; j += STEP) {
            var sum = array<array<f32, QUERIES>, STEP>();
            for (var v = 0u; v < VECTORS; v++) {
                for (var r = 0u; r < STEP; r++) {
                    let row = tile[(j + r) * VECTORS + v];
                    for (var i = 0u; i < QUERIES; i++) {
                        sum[r][i] = add(query[i][v], row, sum[r][i]);
                    }
                }
            }
            // A better row is rare: one branch for all scores of the step.
            var better = false;
            for (var r = 0u; r < STEP; r++) {
                for (var i = 0u; i < QUERIES; i++) {
                    better = better | (sum[r][i] > score[i]);
                }
            }
            if (better) {
                for (var r = 0u; r < STEP; r++) {
                    for (var i = 0u; i < QUERIES; i++) {
                        if (j + r < here && sum[r][i] > score[i] && is_number(sum[r][i])) {
                            score[i] = sum[r][i];
                            index[i] = params.first_row + base + j + r;
                        }
                    }
                }
            }
        }
    }
    for (var i = 0u; i < QUERIES; i++) {
        let at = first + i * THREADS + thread;
        if (at < count) {
            best[(params.first_slot + slot) * params.queries + at] = vec2<u32>(bitcast<u32>(score[i]), index[i]);
        }
    }
}
