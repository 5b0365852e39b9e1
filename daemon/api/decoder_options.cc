#include "daemon/api/decoder_options.h"

#include "base/prng.h"

namespace prefixd {

ChoiceDecoderOptions DecoderOptions(const GenerationRequest& asked, const ApiContext& context,
                                    size_t choice) {
  ChoiceDecoderOptions options{.skip_special_tokens = asked.skip_special_tokens,
                               .include_stop = asked.include_stop,
                               .min_tokens = asked.sampling.min_tokens,
                               .stops = asked.stop,
                               .end_tokens = asked.sampling.ignore_eos ? std::vector<TokenId>() : context.eos,
                               .stop_token_ids = asked.sampling.stop_token_ids,
                               .shown = context.markers,
                               .parse = asked.parses_output(),
                               .output = asked.output,
                               .most_calls = asked.most_calls};
  options.output.id_seed = RandomAt(asked.output.id_seed, choice);
  return options;
}

}  // namespace prefixd
