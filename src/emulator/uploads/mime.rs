//! The types that File Search takes (fact sheet 15).

use crate::emulator::http::answer::{Answer, invalid};
use crate::emulator::service::Service;
use crate::emulator::strict::rules::Rule;

/// Behind `application/`.
const APPLICATION: &str = "dart ecmascript json ms-java msword pdf sql typescript vnd.curl vnd.dart \
    vnd.ibm.secure-container vnd.jupyter vnd.ms-excel vnd.oasis.opendocument.text \
    vnd.openxmlformats-officedocument.presentationml.presentation \
    vnd.openxmlformats-officedocument.spreadsheetml.sheet \
    vnd.openxmlformats-officedocument.wordprocessingml.document \
    vnd.openxmlformats-officedocument.wordprocessingml.template x-csh x-hwp x-hwp-v5 x-latex x-php \
    x-powershell x-sh x-shellscript x-tex x-zsh xml zip";
/// Behind `text/`.
const TEXT: &str = "1d-interleaved-parityfec RED SGML cache-manifest calendar cql cql-extension cql-identifier css csv \
    csv-schema dns encaprtp enriched example fhirpath flexfec fwdred gff3 grammar-ref-list hl7v2 html \
    javascript jcr-cnd jsx markdown mizar n3 parameters parityfec php plain provenance-notation \
    prs.fallenstein.rst prs.lines.tag prs.prop.logic raptorfec rfc822-headers rtf rtp-enc-aescm128 \
    rtploopback rtx sgml shaclc shex spdx strings t140 tab-separated-values texmacs troff tsv tsx turtle \
    ulpfec uri-list vcard vnd.DMClientScript vnd.IPTC.NITF vnd.IPTC.NewsML vnd.a vnd.abc vnd.ascii-art \
    vnd.curl vnd.debian.copyright vnd.dvb.subtitle vnd.esmertec.theme-descriptor vnd.exchangeable \
    vnd.familysearch.gedcom vnd.ficlab.flt vnd.fly vnd.fmi.flexstor vnd.gml vnd.graphviz vnd.hans vnd.hgl \
    vnd.in3d.3dml vnd.in3d.spot vnd.latex-z vnd.motorola.reflex vnd.ms-mediapackage \
    vnd.net2phone.commcenter.command vnd.radisys.msml-basic-layout vnd.senx.warpscript vnd.sosi \
    vnd.sun.j2me.app-descriptor vnd.trolltech.linguist vnd.wap.si vnd.wap.sl vnd.wap.wml vnd.wap.wmlscript \
    vtt wgsl x-asm x-bibtex x-boo x-c x-c++hdr x-c++src x-cassandra x-chdr x-coffeescript x-component x-csh \
    x-csharp x-csrc x-cuda x-d x-diff x-dsrc x-emacs-lisp x-erlang x-gff3 x-go x-haskell x-java \
    x-java-properties x-java-source x-kotlin x-lilypond x-lisp x-literate-haskell x-lua x-moc x-objcsrc \
    x-pascal x-pcs-gcd x-perl x-perl-script x-python x-python-script x-r-markdown x-rsrc x-rst x-ruby-script \
    x-rust x-sass x-scala x-scheme x-script.python x-scss x-setext x-sfv x-sh x-siesta x-sos x-sql x-swift \
    x-tcl x-tex x-vbasic x-vcalendar xml xml-dtd xml-external-parsed-entity yaml";
/// What a store takes as well whose model makes sense of images.
const IMAGES: [&str; 2] = ["image/png", "image/jpeg"];
const IMAGE_MODEL: &str = "models/gemini-embedding-2";

impl Service {
    /// Refuses a type that a store with this embedding model does not take; one that is not given is inferred.
    pub fn check_mime(&self, mime: &str, embedding_model: &str) -> Result<(), Answer> {
        let is_fine =
            mime.is_empty() || self.loose.has(Rule::MimeTypes) || is_taken(mime, embedding_model);
        match is_fine {
            true => Ok(()),
            false => Err(invalid(&format!("Unsupported MIME type: {mime}"))),
        }
    }
}

/// Whether a store with this embedding model takes a document of this type; parameters behind the type do not
/// matter, nor does the case.
fn is_taken(mime: &str, embedding_model: &str) -> bool {
    let essence = mime.split(';').next().unwrap_or_default().trim();
    let is_image = IMAGES
        .iter()
        .any(|image| image.eq_ignore_ascii_case(essence));
    if is_image {
        return embedding_model == IMAGE_MODEL;
    }
    let Some((kind, name)) = essence.split_once('/') else {
        return false;
    };
    let known = match kind.to_ascii_lowercase().as_str() {
        "application" => APPLICATION,
        "text" => TEXT,
        _ => return false,
    };
    known
        .split_whitespace()
        .any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_the_documentation_are_taken_and_no_others() {
        for taken in [
            "text/plain",
            "TEXT/Markdown; charset=utf-8",
            "application/pdf",
            "text/RED",
            "text/x-c++src",
        ] {
            assert!(is_taken(taken, ""), "{taken}");
        }
        for refused in [
            "",
            "text",
            "text/",
            "text/nonsense",
            "audio/mpeg",
            "application/octet-stream",
            "image/png",
        ] {
            assert!(!is_taken(refused, ""), "{refused}");
        }
        assert!(is_taken("image/png", IMAGE_MODEL) && !is_taken("image/gif", IMAGE_MODEL));
    }
}
