// As sums.wgsl, but what passes by is weighted and added to the gradient of the row. `rows` and `columns` hold for each row of a and b a scale and
// the logarithm of its sum, `own_weight` what a correspondence takes off.
//
// Header: as sums.wgsl.

@group(0) @binding(2) var<storage, read> rows: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> columns: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> own_weight: array<f32>;
@group(0) @binding(5) var<storage, read_write> gradient: array<Elem>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let number = group.x + group.y * 32768u;
    let item = number / params.groups;
    let row = number % params.groups * THREADS + thread;
    // Workgroups behind the end, and rows behind the end of an item, compute along.
    let first = min(item, params.items - 1u) * params.rows;
    var own: array<f32, WIDTH>;
    var sums: array<f32, WIDTH>;
    let place = first + min(row, params.rows - 1u);
    for (var c = 0u; c < WIDTH; c++) {
        own[c] = f32(a[place * WIDTH + c]);
        sums[c] = 0.0;
    }
    let own_row = rows[place];
    for (var start = 0u; start < params.rows; start += TILE) {
        let count = min(TILE, params.rows - start);
        workgroupBarrier();
        for (var i = thread; i < count * WIDTH; i += THREADS) {
            tile[i / WIDTH * (WIDTH + 2u) + i % WIDTH] = f32(b[(first + start) * WIDTH + i]);
        }
        for (var k = thread; k < count; k += THREADS) {
            let column = columns[first + start + k];
            tile[k * (WIDTH + 2u) + WIDTH] = column.x;
            tile[k * (WIDTH + 2u) + WIDTH + 1u] = column.y;
        }
        workgroupBarrier();
        for (var k = 0u; k < count; k++) {
            let at = k * (WIDTH + 2u);
            let raw = raw_of(&own, k);
            let similarity = similarity_of(raw);
            var weight = own_row.x * exp(similarity - own_row.y) + tile[at + WIDTH] * exp(similarity - tile[at + WIDTH + 1u]);
            if (start + k == row) {
                weight -= own_weight[place];
            }
            if (EUCLIDEAN) {
                // Descriptors that are equal pull nowhere.
                let distance = max(sqrt(raw), 1e-30);
                weight *= select(0.0, -params.scale / (distance * (1.0 + distance) * (1.0 + distance)), raw > 0.0);
                for (var c = 0u; c < WIDTH; c++) {
                    sums[c] += weight * (own[c] - tile[at + c]);
                }
            } else {
                weight *= params.scale;
                for (var c = 0u; c < WIDTH; c++) {
                    sums[c] += weight * tile[at + c];
                }
            }
        }
    }
    if (item < params.items && row < params.rows) {
        for (var c = 0u; c < WIDTH; c++) {
            gradient[place * WIDTH + c] = Elem(sums[c]);
        }
    }
}
