// What the three kernels share. A workgroup of 8 x 8 invocations owns a tile of OWN tokens of one head and lets the other side
// pass by, PASSING tokens at a time. Invocation (ty, tx) holds the scores of PER_THREAD own tokens against four passing ones, then
// the sums of the same own tokens for every eighth vector of the head. Both sides and the weights lie transposed in workgroup
// memory, so that one read serves four tokens; their vectors change places by an exclusive or, which keeps both reading and
// writing free of bank conflicts. What passes shares one array. Heads longer than a chunk pass in CHUNKS parts.
//
// Header: PER_THREAD (4 or 8), CHUNKS, CHUNK (vectors of four in a chunk), COLUMNS (of them for an invocation), VECTORS (in a
// head).

const HALF_ROWS: u32 = PER_THREAD / 4u;
const OWN: u32 = 8u * PER_THREAD;
const OWN_VECTORS: u32 = OWN / 4u;
// The name that rows meet by.
const QUERY_VECTORS: u32 = OWN_VECTORS;
const PASSING: u32 = 32u;
const PASSING_VECTORS: u32 = 8u;
const ROW_VECTORS: u32 = COLUMNS * 8u;
const SUMS: u32 = CHUNKS * COLUMNS * PER_THREAD;

var<workgroup> own_tile: array<vec4<f32>, CHUNK * 4u * OWN_VECTORS>;
var<workgroup> tile: array<vec4<f32>, max(CHUNK * 4u * PASSING_VECTORS, PASSING * ROW_VECTORS)>;
var<workgroup> weights: array<vec4<f32>, PASSING * OWN_VECTORS>;

// Adds the products of own tokens and passing columns, one chunk of them.
fn multiply(scores: ptr<function, array<vec4<f32>, PER_THREAD>>, thread: u32) {
    let ty = thread / 8u;
    let tx = thread % 8u;
    for (var c = 0u; c < CHUNK; c++) {
        let swap = c % 8u;
        for (var j = 0u; j < 4u; j++) {
            let other = tile[(c * 4u + j) * PASSING_VECTORS + (tx ^ swap)];
            for (var h = 0u; h < HALF_ROWS; h++) {
                let x = own_tile[(c * 4u + j) * OWN_VECTORS + ((ty * HALF_ROWS + h) ^ swap)];
                (*scores)[h * 4u] += x.x * other;
                (*scores)[h * 4u + 1u] += x.y * other;
                (*scores)[h * 4u + 2u] += x.z * other;
                (*scores)[h * 4u + 3u] += x.w * other;
            }
        }
    }
}

// Shares the weights of own tokens against passing ones.
fn put_weights(x: ptr<function, array<vec4<f32>, PER_THREAD>>, thread: u32) {
    let ty = thread / 8u;
    let tx = thread % 8u;
    for (var h = 0u; h < HALF_ROWS; h++) {
        let at = tx * 4u * OWN_VECTORS + ((ty * HALF_ROWS + h) ^ tx);
        let p = (*x)[h * 4u];
        let q = (*x)[h * 4u + 1u];
        let r = (*x)[h * 4u + 2u];
        let s = (*x)[h * 4u + 3u];
        weights[at] = vec4<f32>(p.x, q.x, r.x, s.x);
        weights[at + OWN_VECTORS] = vec4<f32>(p.y, q.y, r.y, s.y);
        weights[at + 2u * OWN_VECTORS] = vec4<f32>(p.z, q.z, r.z, s.z);
        weights[at + 3u * OWN_VECTORS] = vec4<f32>(p.w, q.w, r.w, s.w);
    }
}

// Adds the weights times the passing rows, one chunk of them.
fn add_weighted(sums: ptr<function, array<vec4<f32>, SUMS>>, chunk: u32, thread: u32) {
    let ty = thread / 8u;
    let tx = thread % 8u;
    for (var token = 0u; token < PASSING; token++) {
        for (var h = 0u; h < HALF_ROWS; h++) {
            let w = weights[token * OWN_VECTORS + ((ty * HALF_ROWS + h) ^ (token / 4u))];
            for (var c = 0u; c < COLUMNS; c++) {
                let row = tile[token * ROW_VECTORS + tx + 8u * c];
                let at = (chunk * COLUMNS + c) * PER_THREAD + h * 4u;
                (*sums)[at] += w.x * row;
                (*sums)[at + 1u] += w.y * row;
                (*sums)[at + 2u] += w.z * row;
                (*sums)[at + 3u] += w.w * row;
            }
        }
    }
}
