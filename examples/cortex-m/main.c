/* Runs a model on the input in input.h, and writes the bits of its outputs. */
#include <stdint.h>
#include <string.h>

#include "input.h" /* const float input[], OUTPUTS */
#include "model.h"

void write_text(const char *text);

int main(void) {
  static float output[OUTPUTS];
  int code = model_run(input, output);
  for (int i = 0; i < OUTPUTS; ++i) {
    static const char digits[] = "0123456789abcdef";
    char text[10];
    uint32_t bits;
    memcpy(&bits, &output[i], sizeof bits);
    for (int digit = 0; digit < 8; ++digit) {
      text[digit] = digits[bits >> (28 - 4 * digit) & 15];
    }
    text[8] = '\n';
    text[9] = 0;
    write_text(text);
  }
  return code;
}
