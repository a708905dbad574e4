"""DescribeConfigs, AlterConfigs and IncrementalAlterConfigs (keys 32, 33, 44): settings of topics.

A topic's settings can be changed while it is in use. AlterConfigs replaces them all, what it does
not name goes back to its default; IncrementalAlterConfigs changes what it names. A broker's
settings can be read; they are set where it is started. Each resource succeeds or fails alone.

Version notes: DescribeConfigs 1 sources and synonyms, 3 types and documentation, 4 flexible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.coordination.errors import TopicError, VersionConflict
from streamlog.broker.handlers.broker_settings import broker_settings
from streamlog.broker.handlers.topic_settings import (
    SETTING_SOURCES,
    SETTING_TYPES,
    Setting,
    SettingSource,
    effective_settings,
)
from streamlog.broker.log.config import CONFIG_DEFINITIONS, ConfigType
from streamlog.broker.log.errors import InvalidConfigError
from streamlog.errors import StorageError
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages import alter_configs, incremental_alter_configs
from streamlog.wire.messages.describe_configs import (
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
    DescribeConfigsSynonym,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamlog.broker.coordination.topics import Topic
    from streamlog.broker.handlers.services import RequestContext
    from streamlog.wire.messages.describe_configs import (
        DescribeConfigsRequest,
        DescribeConfigsResource,
    )

TOPIC, BROKER, BROKER_LOGGER = 2, 4, 8
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3


def handle_describe_configs(
    request: DescribeConfigsRequest, context: RequestContext
) -> DescribeConfigsResponse:
    """Describes every resource that is named."""
    results = []
    for resource in request.resources:
        result = DescribeConfigsResult(
            error_message=None,
            resource_type=resource.resource_type,
            resource_name=resource.resource_name,
        )
        results.append(result)
        try:
            result.configs = _describe(resource, request, context)
        except TopicError as error:
            result.error_code, result.error_message = error.code, str(error)
    return DescribeConfigsResponse(results=results)


def _describe(
    resource: DescribeConfigsResource, request: DescribeConfigsRequest, context: RequestContext
) -> list[DescribeConfigsResourceResult]:
    names = resource.configuration_keys
    broker = context.broker
    if resource.resource_type == TOPIC:
        topic = _topic(resource.resource_name, context)
        return [
            _describe_setting(setting, request)
            for setting in effective_settings(topic.configs, broker.config.topic_defaults)
            if names is None or setting.name in names
        ]
    _check_broker(resource.resource_type, resource.resource_name, context)
    if resource.resource_type == BROKER_LOGGER:
        return []
    return [
        DescribeConfigsResourceResult(
            name=name,
            value=value,
            read_only=True,
            config_source=SETTING_SOURCES[SettingSource.BROKER],
            config_type=kind,
            documentation=None,
        )
        for name, (value, kind) in broker_settings(broker).items()
        if names is None or name in names
    ]


def _describe_setting(
    setting: Setting, request: DescribeConfigsRequest
) -> DescribeConfigsResourceResult:
    synonyms = [
        DescribeConfigsSynonym(name=setting.name, value=value, source=SETTING_SOURCES[source])
        for value, source in setting.chain
    ]
    return DescribeConfigsResourceResult(
        name=setting.name,
        value=setting.value,
        config_source=SETTING_SOURCES[setting.source],
        synonyms=synonyms if request.include_synonyms else [],
        config_type=SETTING_TYPES[setting.definition.type],
        documentation=setting.definition.about if request.include_documentation else None,
    )


async def handle_alter_configs(
    request: alter_configs.AlterConfigsRequest, context: RequestContext
) -> alter_configs.AlterConfigsResponse:
    """Replaces all settings of every topic that is named."""
    responses = []
    for resource in request.resources:

        def change(
            _: Mapping[str, str], resource: alter_configs.AlterConfigsResource = resource
        ) -> dict[str, str]:
            return {item.name: _given(item.name, item.value) for item in resource.configs}

        code, message = await _alter(
            resource.resource_type,
            resource.resource_name,
            change,
            context,
            validate_only=request.validate_only,
        )
        responses.append(
            alter_configs.AlterConfigsResourceResponse(
                error_code=code,
                error_message=message,
                resource_type=resource.resource_type,
                resource_name=resource.resource_name,
            )
        )
    return alter_configs.AlterConfigsResponse(responses=responses)


async def handle_incremental_alter_configs(
    request: incremental_alter_configs.IncrementalAlterConfigsRequest, context: RequestContext
) -> incremental_alter_configs.IncrementalAlterConfigsResponse:
    """Changes single settings of every topic that is named."""
    responses = []
    for resource in request.resources:

        def change(
            own: Mapping[str, str],
            resource: incremental_alter_configs.AlterConfigsResource = resource,
        ) -> dict[str, str]:
            return _changed(own, resource.configs, context)

        code, message = await _alter(
            resource.resource_type,
            resource.resource_name,
            change,
            context,
            validate_only=request.validate_only,
        )
        responses.append(
            incremental_alter_configs.AlterConfigsResourceResponse(
                error_code=code,
                error_message=message,
                resource_type=resource.resource_type,
                resource_name=resource.resource_name,
            )
        )
    return incremental_alter_configs.IncrementalAlterConfigsResponse(responses=responses)


async def _alter(
    resource_type: int,
    resource_name: str,
    change: Callable[[Mapping[str, str]], dict[str, str]],
    context: RequestContext,
    *,
    validate_only: bool,
) -> tuple[ErrorCode, str | None]:
    admin = context.broker.topic_admin
    try:
        if resource_type != TOPIC:
            _check_broker(resource_type, resource_name, context)
            return ErrorCode.INVALID_REQUEST, (
                "A broker's settings cannot be changed while it runs: they are options of "
                "streamlog server."
            )
        settings = change(_topic(resource_name, context).configs)
        admin.log_config(settings)
        if not validate_only:
            await admin.alter(resource_name, settings)
    except (TopicError, InvalidConfigError) as error:
        return error.code, str(error)
    except VersionConflict as error:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, str(error)
    except StorageError as error:
        return ErrorCode.KAFKA_STORAGE_ERROR, str(error)
    return ErrorCode.NONE, None


def _changed(
    own: Mapping[str, str],
    changes: list[incremental_alter_configs.AlterableConfig],
    context: RequestContext,
) -> dict[str, str]:
    names = [item.name for item in changes]
    if len(set(names)) < len(names):
        raise TopicError(ErrorCode.INVALID_REQUEST, "A setting is named twice.")
    settings = dict(own)
    for item in changes:
        if item.config_operation == DELETE:
            settings.pop(item.name, None)
        elif item.config_operation == SET:
            settings[item.name] = _given(item.name, item.value)
        elif item.config_operation in (APPEND, SUBTRACT):
            definition = CONFIG_DEFINITIONS.get(item.name)
            if definition is None or definition.type is not ConfigType.LIST:
                raise TopicError(
                    ErrorCode.INVALID_CONFIG, f"{item.name} is not a list to add to or take from."
                )
            inherited = context.broker.config.topic_defaults.get(item.name, definition.default)
            items = [part for part in settings.get(item.name, inherited).split(",") if part]
            named = [part for part in _given(item.name, item.value).split(",") if part]
            kept = [part for part in items if part not in named]
            settings[item.name] = ",".join(
                kept
                if item.config_operation == SUBTRACT
                else items + [p for p in named if p not in items]
            )
        else:
            raise TopicError(
                ErrorCode.INVALID_REQUEST, f"{item.config_operation} is not an operation."
            )
    return settings


def _given(name: str, value: str | None) -> str:
    if value is None:
        raise TopicError(ErrorCode.INVALID_REQUEST, f"{name} is given without a value.")
    return value


def _topic(name: str, context: RequestContext) -> Topic:
    topic = context.broker.topics.get(name)
    if topic is None:
        raise TopicError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Topic '{name}' does not exist.")
    return topic


def _check_broker(resource_type: int, resource_name: str, context: RequestContext) -> None:
    if resource_type not in (BROKER, BROKER_LOGGER):
        raise TopicError(
            ErrorCode.INVALID_REQUEST, f"Resources of type {resource_type} have no settings here."
        )
    node_id = context.broker.config.node_id
    if resource_name not in ("", str(node_id)):
        raise TopicError(
            ErrorCode.INVALID_REQUEST,
            f"This is broker {node_id}; it knows nothing of broker {resource_name!r}.",
        )
