@group(0) @binding(0) var<storage, read_write> a: array<f32>;

// Invocations side by side that have rows whole.
const TEAMS: u32 = THREADS / COLUMNS;
// Vectors from team to team of a column in workgroup memory: one more keeps teams that read at once out of each other's banks.
const PITCH: u32 = QUADS + 1u;
const NONE: u32 = 0xffffffffu;

// Where vector v of all rows of the panel is in a column in workgroup memory.
fn vector_at(v: u32) -> u32 {
    return v / QUADS * PITCH + v % QUADS;
}

// Place of row i of the panel in column c of the matrix from base on; behind the ends the last one.
fn place(base: u32, i: u32, c: u32) -> u32 {
    let row = min(params.first + i, params.m - 1u);
    return base + row * params.n + params.first + min(c, params.width - 1u);
}

fn value_at(base: u32, i: u32, c: u32) -> f32 {
    let value = a[place(base, i, c)];
    return select(0.0, value, params.first + i < params.m && c < params.width);
}

fn store(base: u32, i: u32, c: u32, value: f32) {
    if (params.first + i < params.m && c < params.width) {
        a[place(base, i, c)] = value;
    }
}
