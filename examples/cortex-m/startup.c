/* What runs before main: the floating-point unit, the memory, and the way out of QEMU. */
#include <stdint.h>
#include <string.h>

extern uint32_t stack_top, data_start, data_end, data_load, bss_start, bss_end;
int main(void);

#define COPROCESSORS (*(volatile uint32_t *)0xE000ED88)
#define UART_DATA (*(volatile uint32_t *)0x40004000)
#define UART_STATE (*(volatile uint32_t *)0x40004004)
#define UART_CONTROL (*(volatile uint32_t *)0x40004008)

/* Semihosting: asks the emulator, or a debugger, to end the program. */
static void leave(int code) {
  uint32_t reason[2] = {0x20026 /* the program ended */, (uint32_t)code};
  register uint32_t operation __asm__("r0") = 0x20 /* exit, with a code */;
  register uint32_t *argument __asm__("r1") = reason;
  __asm__ volatile("bkpt 0xAB" : : "r"(operation), "r"(argument) : "memory");
  for (;;) {
  }
}

void write_text(const char *text) {
  UART_CONTROL = 1;
  for (; *text; ++text) {
    while (UART_STATE & 1) {
    }
    UART_DATA = (uint32_t)*text;
  }
}

void reset(void) {
  COPROCESSORS |= 0xFu << 20;
  __asm__ volatile("dsb\nisb");
  memcpy(&data_start, &data_load, (size_t)((char *)&data_end - (char *)&data_start));
  memset(&bss_start, 0, (size_t)((char *)&bss_end - (char *)&bss_start));
  leave(main());
}

static void fault(void) { leave(2); }

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    &stack_top, reset, fault, fault, fault, fault, fault,
};
