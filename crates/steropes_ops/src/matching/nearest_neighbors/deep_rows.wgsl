// As `nearest_neighbors`, for rows that do not fit the registers: a query for each invocation, TILE scores at once, which
// grow by CHUNK vectors of columns at a time. The part of the rows that is needed for that lies in workgroup memory, the
// part of the query in registers.
//
// Header: as there, with QUERIES = 1, and CHUNK.

var<workgroup> tile: array<vec4<f32>, TILE * CHUNK>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let id = group.x + group.y * 32768u;
    let slot = id / params.groups;
    let at = id % params.groups * THREADS + thread;
    let start = slot * params.range;
    let count = query_count();
    if (start >= params.rows || at - thread >= count) {
        return;
    }
    let end = min(start + params.range, params.rows);
    let mine = min(at, count - 1u);

    var score = LOWEST;
    var index = 0u;
    for (var base = start; base < end; base += TILE) {
        var sum = array<f32, TILE>();
        for (var chunk = 0u; chunk < VECTORS; chunk += CHUNK) {
            workgroupBarrier();
            for (var i = thread; i < TILE * CHUNK; i += THREADS) {
                let v = chunk + i % CHUNK;
                var part = vec4<f32>();
                if (v < VECTORS) {
                    part = row_part(min(base + i / CHUNK, params.rows - 1u), v);
                }
                tile[i] = part;
            }
            workgroupBarrier();
            for (var c = 0u; c < CHUNK; c++) {
                if (chunk + c < VECTORS) {
                    let query = query_part(mine, chunk + c);
                    for (var j = 0u; j < TILE; j++) {
                        sum[j] = add(query, tile[j * CHUNK + c], sum[j]);
                    }
                }
            }
        }
        for (var j = 0u; j < TILE; j++) {
            if (base + j < end && sum[j] > score && is_number(sum[j])) {
                score = sum[j];
                index = params.first_row + base + j;
            }
        }
    }
    if (at < count) {
        best[(params.first_slot + slot) * params.queries + at] = vec2<u32>(bitcast<u32>(score), index);
    }
}
