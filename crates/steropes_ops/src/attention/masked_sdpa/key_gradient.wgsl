// Own tokens are keys with their values; the queries of all heads of the group and the gradients of their results pass, so that
// every sum belongs to one workgroup.
//
// Header: that of tiles.wgsl; own_k, columns_q, rows_q, own_v, columns_g, rows_g, put_result (of the keys), put_second (of the
// values); sides; logit, queries_of; params.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let group = id.x + id.y * 32768u;
    if (group >= params.groups) {
        return;
    }
    let kv_heads = params.heads / params.group;
    let batch = group / params.tiles / kv_heads;
    let kv_head = group / params.tiles % kv_heads;
    let first_token = group % params.tiles * OWN;
    let key_row = batch * params.keys * kv_heads + kv_head;
    let ty = thread / 8u;
    let tx = thread % 8u;
    var key_sums: array<vec4<f32>, SUMS>;
    var value_sums: array<vec4<f32>, SUMS>;
    let seen_by = queries_of(first_token, first_token + OWN);
    for (var head = kv_head * params.group; head < (kv_head + 1u) * params.group; head++) {
        let query_row = batch * params.queries * params.heads + head;
        let side = params.first_side + (batch * params.heads + head) * params.queries;
        for (var first_query = seen_by.x; first_query < seen_by.y; first_query += PASSING) {
            var scores: array<vec4<f32>, PER_THREAD>;
            for (var chunk = 0u; chunk < CHUNKS; chunk++) {
                workgroupBarrier();
                own_k(first_token, params.keys, key_row, kv_heads, chunk, thread);
                columns_q(first_query, params.queries, query_row, params.heads, chunk, thread);
                workgroupBarrier();
                multiply(&scores, thread);
            }
            var of_weights: array<vec4<f32>, PER_THREAD>;
            for (var chunk = 0u; chunk < CHUNKS; chunk++) {
                workgroupBarrier();
                own_v(first_token, params.keys, key_row, kv_heads, chunk, thread);
                columns_g(first_query, params.queries, query_row, params.heads, chunk, thread);
                workgroupBarrier();
                multiply(&of_weights, thread);
            }
            for (var j = 0u; j < 4u; j++) {
                let query = first_query + tx * 4u + j;
                let log_and_sum = sides[side + min(query, params.queries - 1u)];
                for (var r = 0u; r < PER_THREAD; r++) {
                    let score = logit(scores[r][j], batch, head, query, first_token + ty * PER_THREAD + r);
                    let open = score.open && query < params.queries;
                    let weight = exp2((score.value - log_and_sum.x) * LOG2_E);
                    let gradient = weight * (of_weights[r][j] - log_and_sum.y) * params.scale;
                    scores[r][j] = select(0.0, weight, open);
                    of_weights[r][j] = select(0.0, gradient, open);
                }
            }
            put_weights(&scores, thread);
            for (var chunk = 0u; chunk < CHUNKS; chunk++) {
                // Everybody has read what passed before.
                workgroupBarrier();
                rows_g(first_query, params.queries, query_row, params.heads, chunk, thread);
                workgroupBarrier();
                add_weighted(&value_sums, chunk, thread);
            }
            // Everybody has read the weights.
            workgroupBarrier();
            put_weights(&of_weights, thread);
            for (var chunk = 0u; chunk < CHUNKS; chunk++) {
                workgroupBarrier();
                rows_q(first_query, params.queries, query_row, params.heads, chunk, thread);
                workgroupBarrier();
                add_weighted(&key_sums, chunk, thread);
            }
        }
    }
    for (var r = 0u; r < PER_THREAD; r++) {
        let token = first_token + ty * PER_THREAD + r;
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            for (var c = 0u; c < COLUMNS; c++) {
                let column = chunk * CHUNK + tx + 8u * c;
                if (token < params.keys && tx + 8u * c < CHUNK && column < VECTORS) {
                    let at = (chunk * COLUMNS + c) * PER_THREAD + r;
                    put_result(key_row + token * kv_heads, column, key_sums[at]);
                    put_second(key_row + token * kv_heads, column, value_sums[at]);
                }
            }
        }
    }
}
