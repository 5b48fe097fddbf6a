// A workgroup of 8 x 8 invocations takes a tile of QUERIES queries of one head and lets the keys pass by, 32 at a time. Invocation
// (ty, tx) holds the scores of PER_THREAD queries against four keys, then the sums of the same queries for every eighth vector of
// the head. Queries, keys and weights lie transposed in workgroup memory, so that one read serves four queries or four keys;
// their vectors change places by an exclusive or, which keeps both reading and writing free of bank conflicts. Keys and
// values share one array. Heads longer than a chunk pass in CHUNKS parts; only then are queries read again for each step.
// The running maximum makes all weights at most 1; each invocation adds up the weights of its own keys until the end.
//
// Header: PER_THREAD (4 or 8), CHUNKS, CHUNK (vectors of four in a chunk), COLUMNS (of them for an invocation), VECTORS (in a
// head); q_at, k_at, v_at, put (one vector of a row); row_largest, row_total (over the eight invocations of a row).

struct Params {
    queries: u32,
    keys: u32,
    heads: u32,
    // Heads of a token in each array; those meant lie side by side.
    query_heads: u32,
    key_heads: u32,
    value_heads: u32,
    // Where the first head stands in its array.
    first_query: u32,
    first_key: u32,
    first_value: u32,
    first_result: u32,
    // Tiles of queries in a head, and in all heads.
    tiles: u32,
    groups: u32,
    // Scale of the scores, for powers of two.
    factor: f32,
}
var<immediate> params: Params;

const HALF_ROWS: u32 = PER_THREAD / 4u;
const QUERIES: u32 = 8u * PER_THREAD;
const QUERY_VECTORS: u32 = QUERIES / 4u;
const KEYS: u32 = 32u;
const KEY_VECTORS: u32 = 8u;
const VALUE_ROW: u32 = COLUMNS * 8u;
// Below any score, and finite.
const NEVER: f32 = -1e30;

var<workgroup> query_tile: array<vec4<f32>, CHUNK * 4u * QUERY_VECTORS>;
var<workgroup> tile: array<vec4<f32>, max(CHUNK * 4u * KEY_VECTORS, KEYS * VALUE_ROW)>;
var<workgroup> weights: array<vec4<f32>, KEYS * QUERY_VECTORS>;

fn load_queries(first_token: u32, first_row: u32, chunk: u32, thread: u32) {
    for (var i = thread; i < CHUNK * QUERY_VECTORS; i += 64u) {
        let c = i % CHUNK;
        let block = i / CHUNK;
        var x: array<vec4<f32>, 4>;
        for (var j = 0u; j < 4u; j++) {
            let token = min(first_token + block * 4u + j, params.queries - 1u);
            x[j] = q_at(first_row + token * params.query_heads, chunk * CHUNK + c);
        }
        let at = c * 4u * QUERY_VECTORS + (block ^ (c % 8u));
        query_tile[at] = vec4<f32>(x[0].x, x[1].x, x[2].x, x[3].x);
        query_tile[at + QUERY_VECTORS] = vec4<f32>(x[0].y, x[1].y, x[2].y, x[3].y);
        query_tile[at + 2u * QUERY_VECTORS] = vec4<f32>(x[0].z, x[1].z, x[2].z, x[3].z);
        query_tile[at + 3u * QUERY_VECTORS] = vec4<f32>(x[0].w, x[1].w, x[2].w, x[3].w);
    }
}

// Keys behind the end repeat the last one; their scores are masked.
fn load_keys(first_token: u32, first_row: u32, chunk: u32, thread: u32) {
    for (var i = thread; i < CHUNK * KEY_VECTORS; i += 64u) {
        let c = i % CHUNK;
        let block = i / CHUNK;
        var x: array<vec4<f32>, 4>;
        for (var j = 0u; j < 4u; j++) {
            let token = min(first_token + block * 4u + j, params.keys - 1u);
            x[j] = k_at(first_row + token * params.key_heads, chunk * CHUNK + c);
        }
        let at = c * 4u * KEY_VECTORS + (block ^ (c % 8u));
        tile[at] = vec4<f32>(x[0].x, x[1].x, x[2].x, x[3].x);
        tile[at + KEY_VECTORS] = vec4<f32>(x[0].y, x[1].y, x[2].y, x[3].y);
        tile[at + 2u * KEY_VECTORS] = vec4<f32>(x[0].z, x[1].z, x[2].z, x[3].z);
        tile[at + 3u * KEY_VECTORS] = vec4<f32>(x[0].w, x[1].w, x[2].w, x[3].w);
    }
}

fn load_values(first_token: u32, first_row: u32, chunk: u32, thread: u32) {
    for (var i = thread; i < KEYS * CHUNK; i += 64u) {
        let c = i % CHUNK;
        let key = i / CHUNK;
        let token = min(first_token + key, params.keys - 1u);
        tile[key * VALUE_ROW + c] = v_at(first_row + token * params.value_heads, chunk * CHUNK + c);
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let group = id.x + id.y * 32768u;
    if (group >= params.groups) {
        return;
    }
    let batch = group / params.tiles / params.heads;
    let head = group / params.tiles % params.heads;
    let first_token = group % params.tiles * QUERIES;
    // A row is a token of a head.
    let query_row = batch * params.queries * params.query_heads + head;
    let key_row = batch * params.keys * params.key_heads + head;
    let value_row = batch * params.keys * params.value_heads + head;
    let result_row = batch * params.queries * params.heads + head;
    let ty = thread / 8u;
    let tx = thread % 8u;
    var sums: array<vec4<f32>, CHUNKS * COLUMNS * PER_THREAD>;
    var largest: array<f32, PER_THREAD>;
    var total: array<f32, PER_THREAD>;
    for (var r = 0u; r < PER_THREAD; r++) {
        largest[r] = NEVER;
    }
    for (var first_key = 0u; first_key < params.keys; first_key += KEYS) {
        var scores: array<vec4<f32>, PER_THREAD>;
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            workgroupBarrier();
            if (CHUNKS > 1u || first_key == 0u) {
                load_queries(first_token, query_row, chunk, thread);
            }
            load_keys(first_key, key_row, chunk, thread);
            workgroupBarrier();
            for (var c = 0u; c < CHUNK; c++) {
                let swap = c % 8u;
                for (var j = 0u; j < 4u; j++) {
                    let key = tile[(c * 4u + j) * KEY_VECTORS + (tx ^ swap)];
                    for (var h = 0u; h < HALF_ROWS; h++) {
                        let x = query_tile[(c * 4u + j) * QUERY_VECTORS + ((ty * HALF_ROWS + h) ^ swap)];
                        scores[h * 4u] += x.x * key;
                        scores[h * 4u + 1u] += x.y * key;
                        scores[h * 4u + 2u] += x.z * key;
                        scores[h * 4u + 3u] += x.w * key;
                    }
                }
            }
        }
        // Everybody has read the keys.
        workgroupBarrier();
        let inside = vec4<u32>(first_key + tx * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.keys);
        var step_largest: array<f32, PER_THREAD>;
        for (var r = 0u; r < PER_THREAD; r++) {
            scores[r] = select(vec4<f32>(NEVER), scores[r] * params.factor, inside);
            step_largest[r] = max(max(scores[r].x, scores[r].y), max(scores[r].z, scores[r].w));
        }
        row_largest(&step_largest, thread);
        for (var r = 0u; r < PER_THREAD; r++) {
            let now = max(largest[r], step_largest[r]);
            let shrink = exp2(largest[r] - now);
            largest[r] = now;
            scores[r] = exp2(scores[r] - now);
            total[r] = total[r] * shrink + ((scores[r].x + scores[r].y) + (scores[r].z + scores[r].w));
            for (var c = 0u; c < CHUNKS * COLUMNS; c++) {
                sums[c * PER_THREAD + r] *= shrink;
            }
        }
        for (var h = 0u; h < HALF_ROWS; h++) {
            let at = tx * 4u * QUERY_VECTORS + ((ty * HALF_ROWS + h) ^ tx);
            let a = scores[h * 4u];
            let b = scores[h * 4u + 1u];
            let c = scores[h * 4u + 2u];
            let d = scores[h * 4u + 3u];
            weights[at] = vec4<f32>(a.x, b.x, c.x, d.x);
            weights[at + QUERY_VECTORS] = vec4<f32>(a.y, b.y, c.y, d.y);
            weights[at + 2u * QUERY_VECTORS] = vec4<f32>(a.z, b.z, c.z, d.z);
            weights[at + 3u * QUERY_VECTORS] = vec4<f32>(a.w, b.w, c.w, d.w);
        }
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            if (chunk > 0u) {
                workgroupBarrier();
            }
            load_values(first_key, value_row, chunk, thread);
            workgroupBarrier();
            for (var key = 0u; key < KEYS; key++) {
                for (var h = 0u; h < HALF_ROWS; h++) {
                    let w = weights[key * QUERY_VECTORS + ((ty * HALF_ROWS + h) ^ (key / 4u))];
                    for (var c = 0u; c < COLUMNS; c++) {
                        let value = tile[key * VALUE_ROW + tx + 8u * c];
                        let at = (chunk * COLUMNS + c) * PER_THREAD + h * 4u;
                        sums[at] += w.x * value;
                        sums[at + 1u] += w.y * value;
                        sums[at + 2u] += w.z * value;
                        sums[at + 3u] += w.w * value;
                    }
                }
            }
        }
    }
    // Everybody has read the values.
    workgroupBarrier();
    row_total(&total, thread);
    for (var r = 0u; r < PER_THREAD; r++) {
        let token = first_token + ty * PER_THREAD + r;
        let factor = 1.0 / total[r];
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            for (var c = 0u; c < COLUMNS; c++) {
                let column = chunk * CHUNK + tx + 8u * c;
                if (token < params.queries && tx + 8u * c < CHUNK && column < VECTORS) {
                    put(result_row + token * params.heads, column, sums[(chunk * COLUMNS + c) * PER_THREAD + r] * factor);
                }
            }
        }
    }
}
