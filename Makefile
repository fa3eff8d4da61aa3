# make               build (release) into build/
# make deps          install what is missing from Debian's packages
# make demo          deps + build + examples/demo.sh
# make test          deps + build + every check and test; ends in a line of counts
# make install       into PREFIX (default /usr/local); DESTDIR is honoured
# make uninstall     removes what was installed from this build tree
# make deb           a Debian package in dist/
# make lint format   check / apply the code style
# make clean         remove every build directory
# PRESET=asan-ubsan (tsan) builds another flavour into build-$(PRESET)/.

PRESET  ?= release
PREFIX  ?= /usr/local
BUILD   ?= $(if $(filter release,$(PRESET)),build,build-$(PRESET))
TARGETS ?= $(if $(filter release,$(PRESET)),product,all)

.PHONY: all configure deps demo test install uninstall deb lint format clean

all: configure
	cmake --build $(BUILD) --target $(TARGETS)

configure: $(BUILD)/build.ninja

$(BUILD)/build.ninja:
	cmake --preset $(PRESET) -B $(BUILD)

deps:
	tools/install_deps.sh

demo: deps
	$(MAKE) all
	examples/demo.sh

test: deps
	tools/run_tests.sh

install: all
	cmake --install $(BUILD) --prefix $(PREFIX)
	cp $(BUILD)/install_manifest.txt $(BUILD)/installed.txt

uninstall:
	tools/uninstall.sh $(BUILD)/installed.txt

deb: all
	cd $(BUILD) && cpack -G DEB -B package
	mkdir -p dist && cp $(BUILD)/package/*.deb dist/
	@ls dist/*.deb

lint:
	tools/lint.sh

format:
	tools/lint.sh --fix

clean:
	rm -rf build build-* dist
