@group(0) @binding(4) var<storage, read> v: array<f32>;
@group(0) @binding(5) var<storage, read_write> vectors: array<u32>;

fn write_vector(matrix: u32, own: u32, rank: u32, thread: u32, inside: bool, valid: bool) {
    let own_row = (matrix * WIDTH + own) * WIDTH;
    var largest = 0.0;
    for (var k = thread; k < N; k += THREADS) {
        largest = max(largest, abs(v[own_row + k]));
    }
    gathered[thread] = bitcast<u32>(largest);
    workgroupBarrier();
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        if (thread < step) {
            gathered[thread] = max(gathered[thread], gathered[thread + step]);
        }
        workgroupBarrier();
    }
    let bound = 0.875 * bitcast<f32>(gathered[0]);
    workgroupBarrier();
    var place = N - 1u;
    for (var k = thread; k < N; k += THREADS) {
        if (abs(v[own_row + k]) >= bound) {
            place = min(place, k);
        }
    }
    gathered[thread] = place;
    workgroupBarrier();
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        if (thread < step) {
            gathered[thread] = min(gathered[thread], gathered[thread + step]);
        }
        workgroupBarrier();
    }
    let sign = select(1.0, -1.0, v[own_row + gathered[0]] < 0.0);
    let to = params.vectors_shift + matrix * (N * N) + rank;
    for (var k = thread; k < N && inside; k += THREADS) {
        vectors[to + k * N] = select(NOT_A_NUMBER, bitcast<u32>(v[own_row + k] * sign), valid);
    }
}
