// JournalVerifier: a layer that was never verified, compared with what its journal (layer_journal.h) says of each file.
//
// It stands between the other two verifiers (store/layer_check.h): where there is no list of checksums yet, the
// contents of files are compared with the checksums that were taken while they were unpacked, then the counts, and the
// list is made of what passed both. The journal says nothing of owners, modes and times on the disk: of these the list
// knows only what they were when it was made.
#pragma once

#include "store/layer_check.h"

namespace davit::image {

class JournalVerifier final : public store::LayerVerifier {
 public:
  // kNotFound: a layer without a journal, or with one that does not describe its files.
  Result<store::LayerFindings> Verify(const store::Layer& layer, const store::CheckProgress& progress) override;

 private:
  store::CountVerifier counts_;
};

}  // namespace davit::image
