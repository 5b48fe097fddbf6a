@group(0) @binding(2) var<storage, read_write> vectors: array<u32>;

fn write_vectors(matrix: u32, thread: u32, inside: bool, valid: bool) {
    let first = params.vectors_shift + matrix * (N * N);
    for (var t = thread; t < N * N && inside; t += THREADS) {
        let i = t % N;
        let bits = bitcast<u32>(v[i * M + t / N] * sums[i]);
        vectors[first + t - i + gathered[i]] = select(NOT_A_NUMBER, bits, valid);
    }
}
