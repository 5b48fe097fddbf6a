// Own tokens are queries with the gradients of their results; keys and values pass.
//
// Header: that of tiles.wgsl; own_q, columns_k, rows_k, own_g, columns_v, put_result; sides; logit, keys_of; params.

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
    let query_row = batch * params.queries * params.heads + head;
    let key_row = batch * params.keys * kv_heads + head / params.group;
    let side = params.first_side + (batch * params.heads + head) * params.queries;
    let ty = thread / 8u;
    let tx = thread % 8u;
    var sums: array<vec4<f32>, SUMS>;
    let keys = keys_of(first_token, first_token + OWN);
    for (var first_key = keys.x; first_key < keys.y; first_key += PASSING) {
        var scores: array<vec4<f32>, PER_THREAD>;
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            workgroupBarrier();
            own_q(first_token, params.queries, query_row, params.heads, chunk, thread);
            columns_k(first_key, params.keys, key_row, kv_heads, chunk, thread);
            workgroupBarrier();
            multiply(&scores, thread);
        }
        var of_weights: array<vec4<f32>, PER_THREAD>;
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            workgroupBarrier();
            own_g(first_token, params.queries, query_row, params.heads, chunk, thread);
            columns_v(first_key, params.keys, key_row, kv_heads, chunk, thread);
            workgroupBarrier();
            multiply(&of_weights, thread);
        }
        for (var r = 0u; r < PER_THREAD; r++) {
            let query = first_token + ty * PER_THREAD + r;
            let log_and_sum = sides[side + min(query, params.queries - 1u)];
            for (var j = 0u; j < 4u; j++) {
                let key = first_key + tx * 4u + j;
                let score = logit(scores[r][j], batch, head, query, key);
                let open = score.open && key < params.keys;
                let weight = exp2((score.value - log_and_sum.x) * LOG2_E);
                let gradient = weight * (of_weights[r][j] - log_and_sum.y) * params.scale;
                scores[r][j] = select(0.0, gradient, open);
            }
        }
        put_weights(&scores, thread);
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            // Everybody has read what passed before.
            workgroupBarrier();
            rows_k(first_key, params.keys, key_row, kv_heads, chunk, thread);
            workgroupBarrier();
            add_weighted(&sums, chunk, thread);
        }
    }
    for (var r = 0u; r < PER_THREAD; r++) {
        let token = first_token + ty * PER_THREAD + r;
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            for (var c = 0u; c < COLUMNS; c++) {
                let column = chunk * CHUNK + tx + 8u * c;
                if (token < params.queries && tx + 8u * c < CHUNK && column < VECTORS) {
                    put_result(query_row + token * params.heads, column, sums[(chunk * COLUMNS + c) * PER_THREAD + r]);
                }
            }
        }
    }
}
