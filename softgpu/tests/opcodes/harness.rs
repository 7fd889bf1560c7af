//! Runs one instruction over many inputs, and compares.

use softgpu::exec::launch::{Config, Machine, launch};
use softgpu::exec::program::LoadedModule;
use softgpu::gpu::Gpu;
use softgpu::memory::Arena;
use softgpu::options::{Checks, Options};

use super::exact::Format;

/// Up to three sources.
pub type Inputs = [u64; 3];

/// How results are compared.
#[derive(Debug, Clone, Copy)]
pub enum Result {
    /// Bits of a register of this width; 1: a predicate.
    Bits(u32),
    /// A number; all NaNs are equal.
    Float(Format),
}

impl Result {
    fn width(self) -> u32 {
        match self {
            Result::Bits(bits) => bits,
            Result::Float(format) => format.bits(),
        }
    }

    fn equal(self, a: u64, b: u64) -> bool {
        match self {
            Result::Float(format) => a == b || format.is_nan(a) && format.is_nan(b),
            Result::Bits(_) => a == b,
        }
    }
}

/// A machine.
pub struct Bench {
    machine: Machine,
}

impl Bench {
    pub fn new() -> Bench {
        let gpu = Gpu::named("a100").expect("a model");
        let options = Options { checks: Checks { init: false, race: false }, threads: 1, ..Options::default() };
        Bench { machine: Machine { gpu, arena: Arena::new(64 << 20).expect("room for device memory"), options } }
    }

    /// Whether a module with this body loads.
    pub fn loads(&self, body: &str, d: u32, sources: &[u32]) -> bool {
        match LoadedModule::load(&text(body, d, sources), &self.machine.arena) {
            Ok(module) => {
                module.unload(&self.machine.arena);
                true
            }
            Err(_) => false,
        }
    }

    /// What `body` makes of registers %a, %b, %c of the widths `sources` in %d of width `d`.
    pub fn run(&self, body: &str, d: u32, sources: &[u32], inputs: &[Inputs]) -> Vec<u64> {
        let bytes: Vec<u8> = inputs.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
        let shape = [inputs.len().div_ceil(128) as u32, 128];
        let out = self.launch(&text(body, d, sources), shape, &bytes, inputs.len() * 8, inputs.len() as u32);
        out.chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes"))).collect()
    }

    /// What kernel `k`, of parameters `from`, `to` and a number, writes of `out` bytes.
    pub fn launch(&self, ptx: &str, [blocks, threads]: [u32; 2], input: &[u8], out: usize, number: u32) -> Vec<u8> {
        let arena = &self.machine.arena;
        let module = LoadedModule::load(ptx, arena).unwrap_or_else(|error| panic!("{error} in {ptx}"));
        let [from, to] = [input.len(), out].map(|n| arena.allocate(n as u64, "data").expect("room"));
        arena.copy_in(from, input).expect("in");
        let mut params = [from.to_le_bytes(), to.to_le_bytes()].concat();
        params.extend(number.to_le_bytes());
        let config = Config { grid: [blocks, 1, 1], block: [threads, 1, 1], shared_bytes: 0, cooperative: false };
        let outcome = launch(&self.machine, &module.kernels["k"], &config, &params).expect("a launch");
        assert!(outcome.findings.is_empty(), "{:?} in {ptx}", outcome.findings);
        let mut bytes = vec![0; out];
        arena.copy_out(to, &mut bytes).expect("out");
        arena.free(from).expect("freed");
        arena.free(to).expect("freed");
        module.unload(arena);
        bytes
    }

    /// Panics at the first result that is not what `expected` says.
    pub fn check(&self, body: &str, d: Result, sources: &[u32], inputs: &[Inputs], expected: impl Fn(Inputs) -> u64) {
        let got = self.run(body, d.width(), sources, inputs);
        for (&input, got) in inputs.iter().zip(got) {
            let want = expected(input);
            let shown: Vec<String> = input[..sources.len()].iter().map(|x| format!("{x:#x}")).collect();
            assert!(d.equal(got, want), "{body} of {} is {got:#x}, not {want:#x}", shown.join(", "));
        }
    }
}

/// The kernel around one instruction.
fn text(body: &str, d: u32, sources: &[u32]) -> String {
    let mut load = String::new();
    for (n, (name, &bits)) in ["%a", "%b", "%c"].iter().zip(sources).enumerate() {
        load += &match bits {
            1 => format!(".reg .pred {name}; ld.global.u64 %l2, [%l1+{}]; setp.ne.u64 {name}, %l2, 0;\n", 8 * n),
            16 | 32 => {
                format!(".reg .b{bits} {name}; ld.global.u64 %l2, [%l1+{}]; cvt.u{bits}.u64 {name}, %l2;\n", 8 * n)
            }
            _ => format!(".reg .b64 {name}; ld.global.b64 {name}, [%l1+{}];\n", 8 * n),
        };
    }
    let (declare, store) = match d {
        1 => (".reg .pred %d;".to_string(), "selp.b64 %l3, 1, 0, %d;".to_string()),
        64 => (".reg .b64 %d;".to_string(), "mov.b64 %l3, %d;".to_string()),
        _ => (format!(".reg .b{d} %d;"), format!("cvt.u64.u{d} %l3, %d;")),
    };
    format!(
        ".version 8.8
.target sm_100
.address_size 64
.visible .entry k(.param .u64 from, .param .u64 to, .param .u32 count) {{
    .reg .pred %p, %q, %r;
    .reg .b16 %h<8>;
    .reg .b32 %w<8>;
    .reg .b64 %l<8>;
    {declare}
    mov.u32 %w0, %ctaid.x;
    mov.u32 %w1, %ntid.x;
    mov.u32 %w2, %tid.x;
    mad.lo.u32 %w0, %w0, %w1, %w2;
    ld.param.u32 %w1, [count];
    setp.ge.u32 %p, %w0, %w1;
    @%p ret;
    ld.param.u64 %l1, [from];
    mad.wide.u32 %l1, %w0, 24, %l1;
    {load}
    {body}
    {store}
    ld.param.u64 %l1, [to];
    mad.wide.u32 %l1, %w0, 8, %l1;
    st.global.u64 [%l1], %l3;
    ret;
}}
"
    )
}

/// Numbers that look random; equal seeds give equal ones.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        // Knuth's MMIX generator, its halves mixed.
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 32) ^ self.0.rotate_left(17)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.next() >> 11) as usize % from.len()]
    }

    /// Any bits of a format; half of them near 1, where sums cancel.
    pub fn float(&mut self, f: Format) -> u64 {
        let any = self.next() & (f.sign() | (f.sign() - 1));
        if self.next() & 1 == 0 {
            return any;
        }
        let exponent = (1 << (f.exponent - 1)) - 4 + (self.next() >> 7) % 8;
        (any & !f.infinity()) | (exponent << f.mantissa)
    }
}

/// Zeros, subnormals, limits, infinities, NaNs, and numbers around which roundings change.
pub fn special(f: Format) -> Vec<u64> {
    let one = ((1 << (f.exponent - 1)) - 1) << f.mantissa;
    let ulp = 1 << f.mantissa;
    let mut all = vec![
        0,
        1,
        2,
        3,
        ulp / 2,
        ulp - 1,
        ulp,
        ulp + 1,
        one - 1,
        one,
        one + 1,
        one + ulp,
        one - ulp,
        one + ulp / 2,
        one + ulp + ulp / 2,
        one + 11 * ulp,
        one - 11 * ulp,
        f.infinity() - 1,
        f.infinity() - ulp,
        f.infinity(),
        f.infinity() + ulp / 2,
        f.infinity() + 1,
        f.infinity() | (ulp - 1),
    ];
    all.extend(all.clone().iter().map(|bits| bits | f.sign()));
    all
}

/// All pairs of special numbers, and `more` others; the third is one or the other.
pub fn inputs(f: Format, more: usize) -> Vec<Inputs> {
    let (mut numbers, special) = (Numbers(f.bits().into()), special(f));
    let mut all = vec![];
    for &a in &special {
        for &b in &special {
            all.push([a, b, numbers.pick(&special)]);
        }
    }
    for _ in 0..more {
        let [a, b, c] =
            [(); 3].map(|()| if numbers.next() & 7 == 0 { numbers.pick(&special) } else { numbers.float(f) });
        // What the product nearly cancels, one time in two.
        let near = (f.value(a) * f.value(b)).to_bits();
        let near =
            if numbers.next() & 1 == 0 && f64::from_bits(near).is_finite() { f.near(-f64::from_bits(near)) } else { c };
        all.push([a, b, near]);
    }
    all
}
