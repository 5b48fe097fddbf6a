// Weights in small integers. A panel is cut along its depth into steps of STEP lines: first the numbers, line by line, BITS bits for each
// of the 64 columns; then what they stand for, for each column a scale in f16, or in f32 and after those of all columns the lowest
// values in f32. A line is one step of the depth; lines are counted over all panels.
//
// Header: Weight4, PANEL, STEP, STEP_PAIRS (pairs of words in a step), BITS (4 or 8), LOWEST (whether there are lowest values), OFFSET (what
// is taken off a number).
@group(0) @binding(1) var<storage, read> weight: array<vec2<u32>>;

const NUMBER_PAIRS: u32 = STEP * BITS;

// The word that holds the number of this line and column.
fn number_word(line: u32, column: u32) -> u32 {
    let word = line % STEP * (2u * BITS) + column * BITS / 32u;
    return weight[line / STEP * STEP_PAIRS + word / 2u][word % 2u];
}

// Four numbers of a word, those from number `first` on.
fn numbers(word: u32, first: u32) -> vec4<f32> {
    if (BITS == 8u) {
        return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
    }
    return vec4<f32>((vec4<u32>(word >> (first * 4u)) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u)) - OFFSET;
}

// Four f32 of the words from pair `at` on.
fn floats_at(at: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(weight[at], weight[at + 1u]));
}

// The scales of four columns in this line.
fn scales(line: u32, column: u32) -> vec4<f32> {
    let at = line / STEP * STEP_PAIRS + NUMBER_PAIRS;
    if (LOWEST) {
        return floats_at(at + column / 2u);
    }
    let halves = weight[at + column / 4u];
    return vec4<f32>(unpack2x16float(halves.x), unpack2x16float(halves.y));
}

// The lowest values of four columns in this line.
fn lowest(line: u32, column: u32) -> vec4<f32> {
    return floats_at(line / STEP * STEP_PAIRS + NUMBER_PAIRS + 32u + column / 2u);
}

// Four packed weights from element `at` on, a multiple of 4.
fn weight4(at: u32) -> Weight4 {
    let line = at / PANEL;
    let column = at % PANEL;
    let four = numbers(number_word(line, column), column % (32u / BITS));
    let values = four * scales(line, column);
    if (LOWEST) {
        return Weight4(values + lowest(line, column));
    }
    return Weight4(values);
}
