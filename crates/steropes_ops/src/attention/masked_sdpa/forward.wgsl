// Own tokens are queries; keys and values pass. The running maximum makes all weights at most 1; each invocation adds up the weights of
// its own keys until the end.
//
// Header: that of tiles.wgsl; own_q, columns_k, rows_v, put_result; logs; logit, keys_of; row_largest, row_total (over the
// eight invocations of a row); params.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let group = id.x + id.y * 32768u;
    if (group >= params.groups) {
        return;
    }
    let batch = group / params.tiles / params.heads;
    let head = group / params.tiles % params.heads;
    // The last tiles of a causal mask have most to do.
    let first_token = (params.tiles - 1u - group % params.tiles) * OWN;
    let kv_heads = params.heads / params.group;
    // A row is a token of a head.
    let query_row = batch * params.queries * params.heads + head;
    let key_row = batch * params.keys * kv_heads + head / params.group;
    let ty = thread / 8u;
    let tx = thread % 8u;
    var sums: array<vec4<f32>, SUMS>;
    var largest: array<f32, PER_THREAD>;
    var total: array<f32, PER_THREAD>;
    for (var r = 0u; r < PER_THREAD; r++) {
        largest[r] = NEVER;
    }
    let keys = keys_of(first_token, first_token + OWN);
    for (var first_key = keys.x; first_key < keys.y; first_key += PASSING) {
        var scores: array<vec4<f32>, PER_THREAD>;
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            workgroupBarrier();
            if (CHUNKS > 1u || first_key == keys.x) {
                own_q(first_token, params.queries, query_row, params.heads, chunk, thread);
            }
            columns_k(first_key, params.keys, key_row, kv_heads, chunk, thread);
            workgroupBarrier();
            multiply(&scores, thread);
        }
        // Everybody has read the keys.
        workgroupBarrier();
        var open: array<vec4<bool>, PER_THREAD>;
        var step_largest: array<f32, PER_THREAD>;
        for (var r = 0u; r < PER_THREAD; r++) {
            for (var j = 0u; j < 4u; j++) {
                let key = first_key + tx * 4u + j;
                let score = logit(scores[r][j], batch, head, first_token + ty * PER_THREAD + r, key);
                open[r][j] = score.open && key < params.keys;
                scores[r][j] = select(NEVER, score.value, open[r][j]);
            }
            step_largest[r] = max(max(scores[r].x, scores[r].y), max(scores[r].z, scores[r].w));
        }
        row_largest(&step_largest, thread);
        for (var r = 0u; r < PER_THREAD; r++) {
            let now = max(largest[r], step_largest[r]);
            let shrink = exp2((largest[r] - now) * LOG2_E);
            largest[r] = now;
            scores[r] = select(vec4<f32>(), exp2((scores[r] - now) * LOG2_E), open[r]);
            total[r] = total[r] * shrink + ((scores[r].x + scores[r].y) + (scores[r].z + scores[r].w));
            for (var c = 0u; c < CHUNKS * COLUMNS; c++) {
                sums[c * PER_THREAD + r] *= shrink;
            }
        }
        put_weights(&scores, thread);
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            if (chunk > 0u) {
                workgroupBarrier();
            }
            rows_v(first_key, params.keys, key_row, kv_heads, chunk, thread);
            workgroupBarrier();
            add_weighted(&sums, chunk, thread);
        }
    }
    // Everybody has read the values.
    workgroupBarrier();
    row_total(&total, thread);
    for (var r = 0u; r < PER_THREAD; r++) {
        let token = first_token + ty * PER_THREAD + r;
        if (token >= params.queries) {
            continue;
        }
        let nothing = total[r] == 0.0;
        let factor = select(1.0 / total[r], 0.0, nothing);
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            for (var c = 0u; c < COLUMNS; c++) {
                let column = chunk * CHUNK + tx + 8u * c;
                if (tx + 8u * c < CHUNK && column < VECTORS) {
                    put_result(query_row + token * params.heads, column, sums[(chunk * COLUMNS + c) * PER_THREAD + r] * factor);
                }
            }
        }
        if (tx == 0u) {
            let log_sum = select(largest[r] + log(total[r]), bitcast<f32>(params.nothing), nothing);
            logs[params.first_side + (batch * params.heads + head) * params.queries + token] = log_sum;
        }
    }
}
