// OWN tokens from `first_token` on, which stay; those behind the end repeat the last one and are not stored.
fn own_NAME(first_token: u32, tokens: u32, first_row: u32, heads: u32, chunk: u32, thread: u32) {
    for (var i = thread; i < CHUNK * OWN_VECTORS; i += 64u) {
        let c = i % CHUNK;
        let block = i / CHUNK;
        var x: array<vec4<f32>, 4>;
        for (var j = 0u; j < 4u; j++) {
            let token = min(first_token + block * 4u + j, tokens - 1u);
            x[j] = NAME_at(first_row + token * heads, chunk * CHUNK + c);
        }
        let at = c * 4u * OWN_VECTORS + (block ^ (c % 8u));
        own_tile[at] = vec4<f32>(x[0].x, x[1].x, x[2].x, x[3].x);
        own_tile[at + OWN_VECTORS] = vec4<f32>(x[0].y, x[1].y, x[2].y, x[3].y);
        own_tile[at + 2u * OWN_VECTORS] = vec4<f32>(x[0].z, x[1].z, x[2].z, x[3].z);
        own_tile[at + 3u * OWN_VECTORS] = vec4<f32>(x[0].w, x[1].w, x[2].w, x[3].w);
    }
}

// PASSING tokens as columns; those behind the end repeat the last one and have the weight 0.
fn columns_NAME(first_token: u32, tokens: u32, first_row: u32, heads: u32, chunk: u32, thread: u32) {
    for (var i = thread; i < CHUNK * PASSING_VECTORS; i += 64u) {
        let c = i % CHUNK;
        let block = i / CHUNK;
        var x: array<vec4<f32>, 4>;
        for (var j = 0u; j < 4u; j++) {
            let token = min(first_token + block * 4u + j, tokens - 1u);
            x[j] = NAME_at(first_row + token * heads, chunk * CHUNK + c);
        }
        let at = c * 4u * PASSING_VECTORS + (block ^ (c % 8u));
        tile[at] = vec4<f32>(x[0].x, x[1].x, x[2].x, x[3].x);
        tile[at + PASSING_VECTORS] = vec4<f32>(x[0].y, x[1].y, x[2].y, x[3].y);
        tile[at + 2u * PASSING_VECTORS] = vec4<f32>(x[0].z, x[1].z, x[2].z, x[3].z);
        tile[at + 3u * PASSING_VECTORS] = vec4<f32>(x[0].w, x[1].w, x[2].w, x[3].w);
    }
}

// PASSING tokens as rows that weights are multiplied with.
fn rows_NAME(first_token: u32, tokens: u32, first_row: u32, heads: u32, chunk: u32, thread: u32) {
    for (var i = thread; i < PASSING * CHUNK; i += 64u) {
        let c = i % CHUNK;
        let passing = i / CHUNK;
        let token = min(first_token + passing, tokens - 1u);
        tile[passing * ROW_VECTORS + c] = NAME_at(first_row + token * heads, chunk * CHUNK + c);
    }
}
