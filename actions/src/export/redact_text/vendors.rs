//! Vendors' keys: how they begin, and how they go on. These are the vendors' own facts.

use super::text::{Span, at, part, run};

/// Bytes that a key goes on with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    Hex,
    Letters,
    /// Letters, digits, `_` and `-`.
    Address,
    /// And `.`.
    Dotted,
    /// And `=`, `+`, `/`.
    Base64,
}

impl Of {
    /// Returns whether the byte is one of them.
    pub(super) fn has(self, byte: u8) -> bool {
        match self {
            Of::Hex => byte.is_ascii_hexdigit(),
            Of::Letters => byte.is_ascii_alphanumeric(),
            Of::Address => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Of::Dotted => Of::Address.has(byte) || byte == b'.',
            Of::Base64 => Of::Dotted.has(byte) || matches!(byte, b'=' | b'+' | b'/' | b'~' | b'%'),
        }
    }
}

/// A key's beginning, the bytes after it, and the fewest of them.
pub(super) struct Known {
    pub begins: &'static str,
    pub of: Of,
    pub least: usize,
}

const fn known(begins: &'static str, of: Of, least: usize) -> Known {
    Known { begins, of, least }
}

/// All of them.
pub(super) const KNOWN: &[Known] = &[
    // Clouds.
    known("AKIA", Of::Letters, 16),
    known("ASIA", Of::Letters, 16),
    known("ABIA", Of::Letters, 16),
    known("ACCA", Of::Letters, 16),
    known("AIza", Of::Address, 30),
    known("ya29.", Of::Dotted, 20),
    known("GOCSPX-", Of::Address, 20),
    known("1//0", Of::Address, 30),
    known("dop_v1_", Of::Hex, 32),
    known("doo_v1_", Of::Hex, 32),
    known("dor_v1_", Of::Hex, 32),
    known("LTAI", Of::Letters, 16),
    known("AKID", Of::Letters, 30),
    known("AQVN", Of::Address, 30),
    known("t1.9eu", Of::Dotted, 30),
    known("HRKU-", Of::Address, 30),
    known("FlyV1 fm", Of::Base64, 30),
    known("fm2_", Of::Base64, 30),
    known("fo1_", Of::Address, 30),
    known("nfp_", Of::Letters, 30),
    known("rnd_", Of::Letters, 20),
    known("scw_", Of::Address, 30),
    known("v1.0-", Of::Address, 60),
    known("sbp_", Of::Hex, 32),
    known("pscale_tkn_", Of::Dotted, 20),
    known("pscale_pw_", Of::Dotted, 20),
    known("pscale_oauth_", Of::Dotted, 20),
    known("dp.pt.", Of::Letters, 30),
    known("dp.st.", Of::Dotted, 30),
    known("dp.ct.", Of::Letters, 30),
    known("dp.sa.", Of::Letters, 30),
    known("dp.scim.", Of::Letters, 30),
    known("dp.audit.", Of::Letters, 30),
    // Where code lives, and packages.
    known("ghp_", Of::Letters, 20),
    known("gho_", Of::Letters, 20),
    known("ghu_", Of::Letters, 20),
    known("ghs_", Of::Address, 20),
    known("ghr_", Of::Letters, 20),
    known("github_pat_", Of::Address, 20),
    known("glpat-", Of::Dotted, 16),
    known("glrt-", Of::Dotted, 16),
    known("glrtr-", Of::Dotted, 16),
    known("gldt-", Of::Dotted, 16),
    known("glptt-", Of::Dotted, 16),
    known("glft-", Of::Dotted, 16),
    known("glsoat-", Of::Dotted, 16),
    known("glcbt-", Of::Dotted, 16),
    known("glimt-", Of::Dotted, 16),
    known("glagent-", Of::Dotted, 16),
    known("gloas-", Of::Dotted, 16),
    known("glffct-", Of::Dotted, 16),
    known("glwt-", Of::Dotted, 16),
    known("ATATT3", Of::Base64, 20),
    known("ATCTT3", Of::Base64, 20),
    known("ATBB", Of::Base64, 20),
    known("npm_", Of::Letters, 20),
    known("pypi-", Of::Address, 40),
    known("rubygems_", Of::Hex, 32),
    known("oy2", Of::Letters, 43),
    known("cio", Of::Letters, 32),
    known("CLOJARS_", Of::Letters, 40),
    known("dckr_pat_", Of::Address, 20),
    known("dckr_oat_", Of::Address, 20),
    known("AKCp", Of::Letters, 40),
    known("cmVmdGtu", Of::Letters, 40),
    known("bkua_", Of::Hex, 32),
    known("CCIPAT_", Of::Address, 20),
    known("squ_", Of::Hex, 32),
    known("sqp_", Of::Hex, 32),
    known("sqa_", Of::Hex, 32),
    known("sgp_", Of::Address, 32),
    known("pul-", Of::Hex, 32),
    known("PMAK-", Of::Address, 30),
    // Money.
    known("sk_live_", Of::Address, 10),
    known("sk_test_", Of::Address, 10),
    known("rk_live_", Of::Address, 10),
    known("rk_test_", Of::Address, 10),
    known("whsec_", Of::Base64, 16),
    known("sq0atp-", Of::Address, 20),
    known("sq0csp-", Of::Address, 30),
    known("sq0idp-", Of::Address, 20),
    known("EAAA", Of::Address, 56),
    known("EAAC", Of::Letters, 30),
    known("FLWSECK", Of::Address, 16),
    known("rzp_live_", Of::Letters, 12),
    known("access-sandbox-", Of::Address, 30),
    known("access-production-", Of::Address, 30),
    known("shippo_live_", Of::Hex, 32),
    known("duffel_live_", Of::Address, 30),
    known("EZAK", Of::Letters, 40),
    known("shpat_", Of::Hex, 24),
    known("shpca_", Of::Hex, 24),
    known("shppa_", Of::Hex, 24),
    known("shpss_", Of::Hex, 24),
    // Messages.
    known("xoxa-", Of::Address, 12),
    known("xoxb-", Of::Address, 12),
    known("xoxc-", Of::Address, 12),
    known("xoxd-", Of::Base64, 12),
    known("xoxe-", Of::Address, 12),
    known("xoxe.", Of::Dotted, 12),
    known("xoxo-", Of::Address, 12),
    known("xoxp-", Of::Address, 12),
    known("xoxr-", Of::Address, 12),
    known("xoxs-", Of::Address, 12),
    known("xapp-", Of::Address, 12),
    known("SG.", Of::Dotted, 40),
    known("SK", Of::Hex, 32),
    known("key-", Of::Hex, 32),
    known("xkeysib-", Of::Address, 40),
    known("re_", Of::Address, 24),
    // Secrets' own stores, and keys.
    known("hvs.", Of::Address, 20),
    known("hvb.", Of::Address, 20),
    known("hvr.", Of::Address, 20),
    known("s.", Of::Letters, 24),
    known("AGE-SECRET-KEY-1", Of::Letters, 30),
    known("AGE-PLUGIN-", Of::Address, 30),
    known("ops_eyJ", Of::Base64, 40),
    known("eyJ", Of::Dotted, 20),
    known("tskey-", Of::Address, 16),
    known("dnkey-", Of::Address, 30),
    known("ops.", Of::Dotted, 60),
    // Models.
    known("sk-", Of::Address, 20),
    known("hf_", Of::Letters, 20),
    known("api_org_", Of::Letters, 30),
    known("gsk_", Of::Letters, 30),
    known("r8_", Of::Letters, 30),
    known("pplx-", Of::Letters, 30),
    known("xai-", Of::Letters, 40),
    known("lsv2_", Of::Address, 30),
    // What watches, plans and writes.
    known("glsa_", Of::Address, 30),
    known("glc_", Of::Base64, 30),
    known("NRAK-", Of::Letters, 20),
    known("NRII-", Of::Address, 24),
    known("NRJS-", Of::Hex, 16),
    known("NRAL-", Of::Letters, 20),
    known("sntrys_", Of::Base64, 30),
    known("sntryu_", Of::Hex, 40),
    known("dt0c01.", Of::Dotted, 40),
    known("dt0s01.", Of::Dotted, 40),
    known("lin_api_", Of::Letters, 24),
    known("ntn_", Of::Letters, 30),
    known("secret_", Of::Letters, 40),
    known("figd_", Of::Address, 30),
    known("CFPAT-", Of::Address, 30),
    known("pat-na1-", Of::Address, 30),
    known("pat-eu1-", Of::Address, 30),
    known("dapi", Of::Hex, 32),
    known("dose", Of::Hex, 32),
    known("phc_", Of::Letters, 30),
    known("phx_", Of::Letters, 30),
    known("pnu_", Of::Letters, 30),
    known("rdme_", Of::Letters, 40),
    known("tfp_", Of::Dotted, 40),
    known("ico-", Of::Letters, 30),
    known("p8e-", Of::Letters, 30),
    known("zpka_", Of::Address, 30),
    known("sm_pat_", Of::Letters, 16),
    known("ATLAS_", Of::Address, 30),
    known("CFUT_", Of::Address, 30),
];

impl Known {
    /// Returns the key that begins here.
    pub(super) fn find(&self, text: &[u8], from: usize) -> Option<Span> {
        // So much is enough to know it; the rest is asked for when it is one.
        const FIRST_LOOK: usize = 256;
        let body = from + self.begins.len();
        if part(text, (from, body)) != self.begins.as_bytes() {
            return None;
        }
        let mut end = run(part(text, (0, body + FIRST_LOOK)), body, |byte| self.of.has(byte));
        let long = end == body + FIRST_LOOK;
        while end > body && matches!(at(text, end - 1), b'.' | b'-') {
            end -= 1;
        }
        let rest = part(text, (body, end));
        let digits = rest.iter().filter(|byte| byte.is_ascii_digit()).count();
        let dotted = self.begins != "eyJ" || rest.iter().skip(8).any(|byte| *byte == b'.');
        // Words with hyphens between them have few digits, and hexadecimal digits end with the key.
        let whole = !matches!(self.of, Of::Hex) || !at(text, end).is_ascii_alphanumeric();
        let found = rest.len() >= self.least && digits > 0 && dotted && (whole || long);
        let end = if found && long { run(text, end, |byte| self.of.has(byte)) } else { end };
        found.then_some((from, end))
    }
}
