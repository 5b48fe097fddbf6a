// An invocation for each row of a, whose item a workgroup belongs to. Tiles of rows of b pass by in workgroup memory; the invocation keeps
// the largest similarity so far and the sum of exponentials relative to it.
//
// Header: Elem; THREADS, WIDTH, TILE, EUCLIDEAN; a, b, tile, raw_of, similarity_of.

@group(0) @binding(2) var<storage, read_write> log_sums: array<f32>;
@group(0) @binding(3) var<storage, read_write> own_similarity: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let number = group.x + group.y * 32768u;
    let item = number / params.groups;
    let row = number % params.groups * THREADS + thread;
    // Workgroups behind the end, and rows behind the end of an item, compute along.
    let first = min(item, params.items - 1u) * params.rows;
    var own: array<f32, WIDTH>;
    let place = first + min(row, params.rows - 1u);
    for (var c = 0u; c < WIDTH; c++) {
        own[c] = f32(a[place * WIDTH + c]);
    }
    var largest = -1e30;
    var sum = 0.0;
    var diagonal = 0.0;
    for (var start = 0u; start < params.rows; start += TILE) {
        let count = min(TILE, params.rows - start);
        workgroupBarrier();
        for (var i = thread; i < count * WIDTH; i += THREADS) {
            tile[i / WIDTH * (WIDTH + 2u) + i % WIDTH] = f32(b[(first + start) * WIDTH + i]);
        }
        workgroupBarrier();
        for (var k = 0u; k < count; k++) {
            let similarity = similarity_of(raw_of(&own, k));
            if (similarity > largest) {
                sum = sum * exp(largest - similarity) + 1.0;
                largest = similarity;
            } else {
                sum += exp(similarity - largest);
            }
            if (start + k == row) {
                diagonal = similarity;
            }
        }
    }
    if (item < params.items && row < params.rows) {
        log_sums[first + row] = largest + log(sum);
        own_similarity[first + row] = diagonal;
    }
}
